"""Layers of a network over frames that never look ahead, and the stream in which they remember earlier frames.

Frames are folded into the batch: (n * B, C, H, W), all samples of a frame together, channels last in memory.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.layers import channels_last

_ROWS = 2048  # rows of a norm at a time for each thread of a CPU: they stay in its cache, which halves the time
_LEAST = 16  # channels on either side; with fewer, the sums for two frames together cost more than they save


@dataclass(slots=True)
class Stream:
    """A run along the frames of `batch` films: each layer's last frames. It is used for one direction and one network.

    The first frame of a film counts apart: no layer halves or doubles it.
    """

    batch: int
    started: bool = False  # whether the first frame has gone through
    past: dict[nn.Module, Tensor] = field(default_factory=dict)

    @property
    def alone(self) -> int:
        """How many of the next chunk's folded frames belong to the films' first frame."""
        return 0 if self.started else self.batch


def pointwise(layer: nn.Linear, x: Tensor) -> Tensor:
    """`layer` over the channels of `x` (N, C, H, W)."""
    out: Tensor = layer(x.permute(0, 2, 3, 1))
    return out.permute(0, 3, 1, 2)


class RmsNorm(nn.Module):
    """Each position's channels (N, width, H, W) over their root mean square, in float32, then SiLU if `silu`."""

    def __init__(self, width: int, *, silu: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.silu = silu

    def forward(self, x: Tensor) -> Tensor:
        gain = self.weight.float() * len(self.weight) ** 0.5
        rows = x.permute(0, 2, 3, 1)
        if x.device.type != "cpu" or self._differentiated(x):
            return self._rows(rows, gain).to(x.dtype).permute(0, 3, 1, 2)
        out = torch.empty_like(rows, memory_format=torch.contiguous_format)
        flat, places, size = rows.reshape(-1, len(gain)), out.view(-1, len(gain)), _ROWS * torch.get_num_threads()
        for part, place in zip(torch.split(flat, size), torch.split(places, size), strict=True):
            place.copy_(self._rows(part, gain))
        return out.permute(0, 3, 1, 2)

    def _rows(self, rows: Tensor, gain: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32).clamp(min=1e-12)
        normed = rows * norm.reciprocal() * gain  # a quotient has a gradient that costs three times as much
        return F.silu(normed, inplace=not self._differentiated(rows)) if self.silu else normed

    def _differentiated(self, x: Tensor) -> bool:
        return torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)


class CausalConv(nn.Module):
    """A convolution over a frame and the two before it, (n B, before, H, W) -> (n B, after, H, W).

    The kernel has 3 frames of `side` x `side` pixels. The weight is that of each frame, the earliest first, one below
    the other: (3 * after, before, side, side). Before the first frame all is zero.
    """

    def __init__(self, before: int, after: int, side: int = 3) -> None:
        super().__init__()
        bound = (3 * before * side**2) ** -0.5
        self.weight = nn.Parameter(nn.init.uniform_(torch.empty(3 * after, before, side, side), -bound, bound))
        self.bias = nn.Parameter(nn.init.uniform_(torch.empty(after), -bound, bound))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        past, batch = stream.past.get(self, x[:0]), stream.batch
        stream.past[self] = _last(past, x, 2 * batch)
        if x.device.type != "cpu":
            return self.whole(past, x, batch)
        return self.joined(past, x, batch) if torch.compiler.is_compiling() else self.by_frame(past, x, batch)

    def whole(self, past: Tensor, x: Tensor, batch: int) -> Tensor:
        """The convolution in three dimensions, of `x` after the 0 to 2 frames of `past`: for a GPU."""
        clip = unfolded(torch.cat([past, x]), batch).permute(1, 2, 0, 3, 4)
        around = self.weight.shape[-1] // 2
        clip = F.pad(clip, (*[around] * 4, 2 - len(past) // batch, 0))
        kernel = self.weight.view(3, -1, *self.weight.shape[1:]).permute(1, 2, 0, 3, 4)
        return F.conv3d(clip, kernel, self.bias).permute(2, 0, 1, 3, 4).flatten(0, 1)

    def joined(self, past: Tensor, x: Tensor, batch: int) -> Tensor:
        """The same as one two-dimensional convolution of the channels of three frames, for torch.compile on a CPU.

        Compiled, a training step of the film model's autoencoder is 1.5 times as fast as by frame.
        """
        blank = x.new_zeros(2 * batch - len(past), *x.shape[1:])
        frames, count = torch.cat([blank, past, x]), len(x)
        clip = torch.cat([frames[:count], frames[batch : batch + count], frames[2 * batch :]], 1)
        return self._product(channels_last(clip), torch.cat(self.weight.chunk(3), 1), self.bias)

    def by_frame(self, past: Tensor, x: Tensor, batch: int) -> Tensor:
        """The same as sums of two-dimensional convolutions, for a CPU, whose cost is the multiplications.

        Two frames take four convolutions in the place of six (Winograd's F(2, 3); Lavin & Gray 2016, sec. 4.1). What is
        before the film takes none.
        """
        frames = [*(torch.split(past, batch) if len(past) else ()), *torch.split(x, batch)]
        kernels = self._kernels_of_two() if len(x) > batch and self._pays() else None
        out: list[Tensor] = []
        at = len(past) // batch
        while at < len(frames):
            if kernels and 2 <= at < len(frames) - 1:
                out += self._two(frames[at - 2 : at + 2], kernels)
                at += 2
            else:
                out.append(self._one(frames[max(at - 2, 0) : at + 1]))
                at += 1
        return torch.cat(out)

    def _one(self, frames: list[Tensor]) -> Tensor:
        """A frame of output, of itself and up to two before it."""
        *earlier, last = zip(frames, self.weight.chunk(3)[-len(frames) :], strict=True)
        out = self._product(*last, self.bias)
        for frame, kernel in earlier:
            out += self._product(frame, kernel)
        return out

    def _two(self, frames: list[Tensor], kernels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Two frames of output, of themselves and the two before them."""
        a, b, c, d = frames
        total, difference = self._product(b + c, kernels[1], self.bias), self._product(c - b, kernels[2])
        one, two = total + difference, total.sub_(difference)
        one += self._product(a - c, kernels[0])
        two += self._product(d - b, kernels[3])
        return one, two

    def _pays(self) -> bool:
        return self.weight.shape[-1] > 1 and min(len(self.bias), self.weight.shape[1]) >= _LEAST

    def _kernels_of_two(self) -> list[Tensor]:
        first, middle, last = self.weight.chunk(3)
        outer, inner = (first.float() + last.float()) / 2, middle.float() / 2
        made = (first, outer + inner, outer - inner, last)
        return [kernel.to(self.weight.dtype) for kernel in made]

    def _product(self, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)


class ShrinkTime(CausalConv):
    """Half the frames, each from two and the one before them, (n B, width, H, W); the first frame stays alone."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        frames = torch.cat([stream.past[self], x]) if stream.started else x
        stream.past[self] = frames[-stream.batch :].clone()
        alone, each = x[: stream.alone], torch.split(frames, stream.batch)
        if len(each) == 1:
            return alone
        return _joined(alone, self._one([torch.cat(each[k : len(each) - 2 + k : 2]) for k in range(3)]))


class GrowTime(CausalConv):
    """Twice the frames, (n B, width, H, W); the first frame stays alone, and those that follow do not see it."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 2 * width, 1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        alone, rest = x[: stream.alone], x[stream.alone :]
        if not len(rest):
            return alone
        both = super().forward(rest, stream).permute(0, 2, 3, 1)
        pairs = both.reshape(-1, stream.batch, *both.shape[1:3], 2, x.shape[1]).movedim(-2, 1)
        return _joined(alone, pairs.flatten(0, 2).contiguous().permute(0, 3, 1, 2))


def means(x: Tensor, after: int, factors: tuple[int, int], stream: Stream) -> Tensor:
    """`x` (n B, C, H, W) with `after` channels, means of groups of all that falls together where time and sides shrink.

    `factors` are of time and of the sides. The first frame is the second of a pair whose first is zero.
    """
    time, side = factors
    frames = unfolded(x, stream.batch)
    if not stream.started:
        frames = F.pad(frames, (*[0] * 8, time - 1, 0))
    n, batch, channels, height, width = frames.shape
    parts = frames.view(n // time, time, batch, channels, height // side, side, width // side, side)
    rows = parts.permute(0, 2, 4, 6, 3, 1, 5, 7).reshape(n // time * batch, height // side, width // side, after, -1)
    return rows.mean(-1).permute(0, 3, 1, 2)


def copies(x: Tensor, after: int, factors: tuple[int, int], stream: Stream) -> Tensor:
    """`x` (n B, C, H, W) with `after` channels, copied to all places where time and sides grow by `factors`."""
    time, side = factors
    total, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).repeat_interleave(after * time * side**2 // channels, -1)
    parts = rows.view(-1, stream.batch, height, width, after, time, side, side).permute(0, 5, 1, 2, 6, 3, 7, 4)
    grown = parts.reshape(time * total, side * height, side * width, after)
    return grown[(time - 1) * stream.alone :].permute(0, 3, 1, 2)


def unfolded(x: Tensor, batch: int) -> Tensor:
    """Folded frames (n * batch, ...) as (n, batch, ...)."""
    return x.view(len(x) // batch, batch, *x.shape[1:])


def _joined(alone: Tensor, others: Tensor) -> Tensor:
    """Both one after the other; `torch.cat` of nothing and something would forget that channels are last in memory."""
    return torch.cat([alone, others]) if len(alone) else others


def _last(past: Tensor, x: Tensor, count: int) -> Tensor:
    """The last `count` folded frames of `past` and `x`, or all if they are fewer, without the memory of others."""
    if len(x) < count:
        return torch.cat([past[len(x) - count :], x])
    return x if len(x) == count else x[-count:].clone()
