"""The causal autoencoder for films of Wan 2.1 and 2.2 (Wan Team 2025).

No frame sees a later one, so a film goes through in chunks of any length. Layers that look back keep what they need of
earlier frames in a `Stream`: the numbers are the whole film's, the memory is one chunk's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.causal_layers import (
    CausalConv,
    GrowTime,
    RmsNorm,
    ShrinkTime,
    Stream,
    copies,
    means,
    pointwise,
    unfolded,
)
from scorefield.nets.kl import Shrink
from scorefield.nets.layers import attend, channels_last
from scorefield.nets.packed import Linear
from scorefield.nets.unet_blocks import Grow


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalVaeConfig:
    """Widths and depths, level by level from the finest; each level but the coarsest halves the sides.

    Levels that are True in `halves_time` also halve the frames. The first frame of a film has a latent of its own.
    """

    channels: int = 16  # of the latents
    width: int = 96
    decoder_width: int = 96
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    resblocks: int = 2  # per level of the encoder; one more in the decoder
    halves_time: tuple[bool, ...] = (False, True, True)
    patch_size: int = 1  # pixels along a side that are channels of one position
    shortcuts: bool = False  # around each level, without weights (Chen et al. 2024, deep compression autoencoder)

    def __post_init__(self) -> None:
        if len(self.halves_time) != len(self.multipliers) - 1:
            raise ValueError(f"{len(self.multipliers)} levels: halves_time has {len(self.halves_time)} values")


WAN_VAE = CausalVaeConfig()  # of Wan 2.1, and of Wan 2.2 with 14 B
WAN_22_VAE = CausalVaeConfig(channels=48, width=160, decoder_width=256, patch_size=2, shortcuts=True)  # of Wan 2.2, 5 B


class CausalBlock(nn.Module):
    """Two causal 3x3x3 convolutions with a residual connection, (n B, before, H, W) -> (n B, after, H, W)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1 = RmsNorm(before, silu=True)
        self.conv1 = CausalConv(before, after)
        self.norm2 = RmsNorm(after, silu=True)
        self.conv2 = CausalConv(after, after)
        self.skip = None if before == after else Linear(before, after)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        h = self.conv1(self.norm1(x), stream)
        out: Tensor = self.conv2(self.norm2(h), stream)
        return out.add_(x if self.skip is None else pointwise(self.skip, x))


class FrameAttention(nn.Module):
    """Residual self-attention over the positions of each frame with one head, (n B, width, H, W) -> same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RmsNorm(width)
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)[:, None]).chunk(3, -1)
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)[:, None]
        mixed: Tensor = self.out(attend(q, k, v), onto=rows)
        return mixed.view(len(x), *x.shape[-2:], -1).permute(0, 3, 1, 2)


def _middle(width: int) -> nn.ModuleList:
    return nn.ModuleList([CausalBlock(width, width), FrameAttention(width), CausalBlock(width, width)])


def _through_middle(middle: nn.ModuleList, x: Tensor, stream: Stream) -> Tensor:
    before, attention, after = middle
    out: Tensor = after(attention(before(x, stream)), stream)
    return out


class Down(nn.Module):
    """A level of the encoder: blocks, then half the sides unless it is the coarsest, then perhaps half the frames."""

    def __init__(self, widths: Sequence[int], *, shrinks: bool, time: bool, shortcut: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CausalBlock(before, after) for before, after in pairwise(widths))
        self.space = Shrink(widths[-1]) if shrinks else None
        self.time = ShrinkTime(widths[-1]) if time else None
        self.shortcut = (1 + time, 1 + shrinks) if shortcut else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        h = x
        for block in self.blocks:
            h = block(h, stream)
        if self.space is not None:
            h = self.space(h)
        if self.time is not None:
            h = self.time(h, stream)
        return h if self.shortcut is None else h + means(x, h.shape[1], self.shortcut, stream)


class Up(nn.Module):
    """A level of the decoder: blocks, then perhaps twice the frames, then twice the sides unless it is the finest."""

    def __init__(self, widths: Sequence[int], after: int, *, grows: bool, time: bool, shortcut: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CausalBlock(before, after) for before, after in pairwise(widths))
        self.time = GrowTime(widths[-1]) if time else None
        self.space = Grow(widths[-1], after) if grows else None
        self.shortcut = (1 + time, 2) if shortcut and grows else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        h = x
        for block in self.blocks:
            h = block(h, stream)
        if self.time is not None:
            h = self.time(h, stream)
        if self.space is not None:
            h = self.space(h)
        return h if self.shortcut is None else h + copies(x, h.shape[1], self.shortcut, stream)


class Encoder(nn.Module):
    """Folded pixels (n B, 3, H, W) -> (m B, 2 * channels, H / factor, W / factor), the levels from fine to coarse."""

    def __init__(self, config: CausalVaeConfig) -> None:
        super().__init__()
        widths = [config.width, *(multiplier * config.width for multiplier in config.multipliers)]
        self.patch_size = config.patch_size
        self.first = CausalConv(3 * config.patch_size**2, config.width)
        self.down = nn.ModuleList()
        for (before, after), time in zip(pairwise(widths), (*config.halves_time, None), strict=True):
            row = [before, *[after] * config.resblocks]
            self.down.append(Down(row, shrinks=time is not None, time=bool(time), shortcut=config.shortcuts))
        self.middle = _middle(widths[-1])
        self.last_norm = RmsNorm(widths[-1], silu=True)
        self.last = CausalConv(widths[-1], 2 * config.channels)

    def forward(self, pixels: Tensor, stream: Stream) -> Tensor:
        # The published networks count a patch's columns before its rows.
        patches = F.pixel_unshuffle(pixels.mT, self.patch_size).mT
        h = self.first(channels_last(patches), stream)
        for level in self.down:
            h = level(h, stream)
        moments: Tensor = self.last(self.last_norm(_through_middle(self.middle, h, stream)), stream)
        return moments


class Decoder(nn.Module):
    """Folded latents (m B, channels, h, w) -> pixels (n B, 3, factor * h, factor * w), levels from coarse to fine."""

    def __init__(self, config: CausalVaeConfig) -> None:
        super().__init__()
        widths = [multiplier * config.decoder_width for multiplier in reversed(config.multipliers)]
        self.patch_size = config.patch_size
        self.first = CausalConv(config.channels, widths[0])
        self.middle = _middle(widths[0])
        self.up = nn.ModuleList()
        before = widths[0]
        for width, time in zip(widths, (*reversed(config.halves_time), None), strict=True):
            row, after = [before, *[width] * (config.resblocks + 1)], width if config.shortcuts else width // 2
            up = Up(row, after, grows=time is not None, time=bool(time), shortcut=config.shortcuts)
            self.up.append(up)
            before = after
        self.last_norm = RmsNorm(widths[-1], silu=True)
        self.last = CausalConv(widths[-1], 3 * config.patch_size**2)

    def forward(self, latents: Tensor, stream: Stream) -> Tensor:
        h = _through_middle(self.middle, self.first(channels_last(latents), stream), stream)
        for level in self.up:
            h = level(h, stream)
        patches: Tensor = self.last(self.last_norm(h), stream)
        return F.pixel_shuffle(patches.mT, self.patch_size).mT


class CausalVae(nn.Module):
    """A variational autoencoder of films; what brings its latents to unit variance is not here.

    `encode` and `decode` take a whole film, or with a stream one chunk after the other. Threads may share the network,
    each with streams of its own.
    """

    def __init__(self, config: CausalVaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.moments = Linear(2 * config.channels, 2 * config.channels)
        self.entry = Linear(config.channels, config.channels)
        self.decoder = Decoder(config)

    @property
    def stride(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels per latent."""
        side = self.config.patch_size << (len(self.config.multipliers) - 1)
        return 1 << sum(self.config.halves_time), side, side

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, T, h, w) of the latents of a film; ValueError if the network does not take its length or its sides."""
        time, factor, _ = self.stride
        if frames < 1 or (frames - 1) % time:
            raise ValueError(f"film of {frames} frames: their number must be a multiple of {time}, plus 1")
        if height % factor or width % factor or min(height, width) < factor:
            raise ValueError(f"film of {width} x {height}: sides must be multiples of {factor}")
        return self.config.channels, 1 + (frames - 1) // time, height // factor, width // factor

    def forward(self, frames: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A step of training: the frames of noisy latents, (B, F, 3, H, W), and the latents' mean and log-variance.

        `noise` (B, C, T, h, w) is of unit variance.
        """
        mean, log_variance = self.encode(frames)
        return self.decode(mean + (0.5 * log_variance).exp() * noise), mean, log_variance

    def encode(self, frames: Tensor, stream: Stream | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (B, C, T, h, w), of `frames` (B, F, 3, H, W) in [-1, 1].

        F is 1 plus a multiple of the stride in a first chunk, a multiple of it in later ones.
        """
        stream = stream or Stream(len(frames))
        self.latent_shape(frames.shape[1] + stream.started, *frames.shape[-2:])
        moments = pointwise(self.moments, self.encoder(frames.transpose(0, 1).flatten(0, 1), stream))
        stream.started = True
        mean, log_variance = unfolded(moments, stream.batch).permute(1, 2, 0, 3, 4).chunk(2, 1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, latents: Tensor, stream: Stream | None = None) -> Tensor:
        """Frames (B, F, 3, H, W), unclamped, of `latents` (B, C, T, h, w).

        The first latent of a film gives one frame, each other one as many as the stride.
        """
        stream = stream or Stream(len(latents))
        folded = latents.permute(2, 0, 1, 3, 4).flatten(0, 1)
        pixels: Tensor = self.decoder(pointwise(self.entry, folded), stream)
        stream.started = True
        return unfolded(pixels, stream.batch).transpose(0, 1)
