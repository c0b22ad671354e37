"""Wan's diffusion transformer: the latents of a film, a time and words in, a prediction of their shape out."""

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.layers import attend, in_float32
from scorefield.nets.packed import GeluLinear, Linear
from scorefield.nets.unet import time_features


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoDitConfig:
    """Widths and depths, and whose numbers the network follows.

    In float32 `like` decides in which precision the time's angles are computed. In half precision the "original" keeps
    the residual stream, the time's embedding and the last layer in float32, where "diffusers" rounds them.
    """

    in_channels: int = 16  # the latents and whatever is joined to them
    out_channels: int = 16
    patch_size: tuple[int, int, int] = (1, 2, 2)  # frames, rows, columns
    width: int = 1536
    mlp_width: int = 8960
    depth: int = 30
    heads: int = 12
    text_width: int = 4096  # of the tokens
    text_length: int = 512  # shorter prompts are read as if padded with rows of zeros to this length
    image_width: int | None = None  # of an image encoder's tokens; None for a network that reads none
    image_positions: int | None = None  # how many image tokens have a learned position; None for none
    time_features: int = 256
    like: Literal["original", "diffusers"] = "original"

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads) or self.width < 6 * self.heads:
            raise ValueError(f"width {self.width} over {self.heads} heads: a head's width must be even and at least 6")


WAN_T2V_1_3B = VideoDitConfig()
WAN_T2V_14B = VideoDitConfig(width=5120, mlp_width=13824, depth=40, heads=40)  # of Wan 2.1, and both of 2.2's A14B
WAN_I2V_14B = replace(WAN_T2V_14B, in_channels=36, image_width=1280)  # joined: a mask of 4 channels and 16 of latents
WAN_FLF2V_14B = replace(WAN_I2V_14B, image_positions=514)  # of the first and the last frame
WAN22_I2V_A14B = replace(WAN_T2V_14B, in_channels=36)
WAN22_TI2V_5B = VideoDitConfig(
    in_channels=48, out_channels=48, width=3072, mlp_width=14336, depth=30, heads=24
)  # its times are of each frame or token


class Context(NamedTuple):
    """The tokens that the blocks attend to."""

    text: Tensor  # (B, L, width)
    repeats: int  # how many more rows follow that are as the text's last
    image: Tensor | None  # (B, M, width)


def rotations(grid: tuple[int, int, int], head_width: int, device: torch.device) -> Tensor:
    """Unit complex numbers (frames * rows * columns, 1, head_width / 2) by which RoPE turns a head's pairs.

    The last two thirds of the pairs, rounded down, turn with row and column, the others with the frame.
    """
    pairs = head_width // 2
    third = pairs // 3
    tables = []
    for axis, count in enumerate((pairs - 2 * third, third, third)):
        rates = 10_000.0 ** (-torch.arange(count, dtype=torch.float64) / count)
        angles = torch.arange(grid[axis], dtype=torch.float64)[:, None] * rates
        turns = torch.polar(torch.ones_like(angles), angles).to(device, torch.complex64)
        sides = [side if axis == k else 1 for k, side in enumerate(grid)]
        tables.append(turns.view(*sides, count).expand(*grid, count))
    return torch.cat(tables, -1).flatten(0, 2).unsqueeze(1)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """`x` (B, N, heads, d) float32 with each pair (2 i, 2 i + 1) turned; `turns` (N, 1, d / 2) as in `rotations`."""
    if torch.compiler.is_compiling():  # it fuses products of real numbers, and knows no complex ones
        cosine, sine = torch.view_as_real(turns).unbind(-1)
        one, two = x.view(*x.shape[:-1], -1, 2).unbind(-1)
        return torch.stack([one * cosine - two * sine, one * sine + two * cosine], -1).flatten(-2)
    # One pass over contiguous memory: on a CPU 6 times faster than the same products of every second number.
    return torch.view_as_real(torch.view_as_complex(x.view(*x.shape[:-1], -1, 2)) * turns).flatten(-2)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm of `x` without weights, then the time's scale and shift, which broadcast to it; float32."""
    return torch.addcmul(shift, F.layer_norm(x.float(), x.shape[-1:], eps=1e-6), 1 + scale)


def gated(x: Tensor, gate: Tensor, change: Tensor) -> Tensor:
    """`x` plus `change` by `gate` in float32, rounded to the dtype of `x`."""
    return torch.addcmul(x, gate, change).to(x.dtype)


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, ..., width) -> (B, N, heads, width / heads)."""
    return x.reshape(len(x), -1, heads, x.shape[-1] // heads)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of q over k and v, all (B, N, heads, d), heads joined: (B, N, width)."""
    return attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Attention of all positions of a film to each other, (B, ..., width) -> same shape.

    Queries and keys are normalised over all heads together and turned in float32, then rounded once.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.query_norm = nn.RMSNorm(width, eps=1e-6)
        self.key_norm = nn.RMSNorm(width, eps=1e-6)
        self.out = Linear(width, width)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k = (
            rotate(_heads(in_float32(norm, part), self.heads), turns).to(x.dtype)
            for norm, part in ((self.query_norm, q), (self.key_norm, k))
        )
        out: Tensor = self.out(_attend(q, k, _heads(v, self.heads)).view_as(x))
        return out


class CrossAttention(nn.Module):
    """Attention of a film's positions to the text and, if `images`, to image tokens, (B, ..., width) -> same shape.

    The two have a softmax each, and their answers are added.
    """

    def __init__(self, width: int, heads: int, images: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q = Linear(width, width)
        self.query_norm = nn.RMSNorm(width, eps=1e-6)
        self.kv = Linear(width, 2 * width)
        self.key_norm = nn.RMSNorm(width, eps=1e-6)
        self.image_kv = Linear(width, 2 * width) if images else None
        self.image_key_norm = nn.RMSNorm(width, eps=1e-6) if images else None
        self.out = Linear(width, width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        q = self._normed(self.query_norm, self.q(x))
        kv = self.kv(context.text)
        kv = torch.cat([kv, kv[:, -1:].expand(-1, context.repeats, -1)], 1) if context.repeats else kv
        mixed = self._mixed(q, kv, self.key_norm)
        if context.image is not None and self.image_kv is not None and self.image_key_norm is not None:
            mixed = mixed + self._mixed(q, self.image_kv(context.image), self.image_key_norm)
        out: Tensor = self.out(mixed.view_as(x))
        return out

    def _mixed(self, q: Tensor, kv: Tensor, norm: nn.Module) -> Tensor:
        """The values of `kv` (B, M, 2 width), mixed for each query: (B, N, width)."""
        k, v = kv.chunk(2, -1)
        return _attend(q, self._normed(norm, k), _heads(v, self.heads))

    def _normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        return _heads(in_float32(norm, x).to(x.dtype), self.heads)


class VideoDitBlock(nn.Module):
    """Self-attention, attention to the condition, feed-forward; the time modulates the first and the last."""

    def __init__(self, config: VideoDitConfig) -> None:
        super().__init__()
        width = config.width
        self.table = nn.Parameter(torch.empty(1, 6, width))
        self.self_attention = SelfAttention(width, config.heads)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.cross_attention = CrossAttention(width, config.heads, images=config.image_width is not None)
        self.mlp = nn.Sequential(GeluLinear(width, config.mlp_width), Linear(config.mlp_width, width))

    def forward(self, x: Tensor, context: Context, modulation: Tensor, turns: Tensor) -> Tensor:
        """x (B, T, N / T, width), modulation (B, T, 6, width) float32, turns as in `rotations` -> shape of x."""
        dtype, table = context.text.dtype, self.table.float()
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + table).unsqueeze(3).unbind(2)
        x = gated(x, gate1, self.self_attention(modulate(x, shift1, scale1).to(dtype), turns))
        x = x + self.cross_attention(in_float32(self.norm, x).to(dtype), context)
        return gated(x, gate2, self.mlp(modulate(x, shift2, scale2).to(dtype)))


class ImageProjection(nn.Module):
    """An image encoder's tokens (B, M, image_width) to the width of the film's: (B, M, width)."""

    def __init__(self, image_width: int, width: int, positions: int | None) -> None:
        super().__init__()
        self.positions = None if positions is None else nn.Parameter(torch.zeros(1, positions, image_width))
        self.norm1 = nn.LayerNorm(image_width)
        self.fc1 = Linear(image_width, image_width)
        self.fc2 = Linear(image_width, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        if self.positions is not None:
            if x.shape[1] != self.positions.shape[1]:
                raise ValueError(f"{x.shape[1]} image tokens: this network reads {self.positions.shape[1]}")
            x = x + self.positions
        projected: Tensor = self.norm2(self.fc2(F.gelu(self.fc1(self.norm1(x)))))
        return projected


class VideoDit(nn.Module):
    """Diffusion transformer over a film's frames, rows and columns, with words by cross-attention (Wan et al. 2025).

    New, it returns zeros: the last layer starts there. Time is in float32, 0..1000.
    """

    def __init__(self, config: VideoDitConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        self.patch = nn.Conv3d(config.in_channels, width, patch, stride=patch)
        self.text = nn.Sequential(GeluLinear(config.text_width, width), Linear(width, width))
        self.time = nn.Sequential(nn.Linear(config.time_features, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.image = None
        if config.image_width is not None:
            self.image = ImageProjection(config.image_width, width, config.image_positions)
        self.blocks = nn.ModuleList(VideoDitBlock(config) for _ in range(config.depth))
        self.last_table = nn.Parameter(torch.empty(1, 2, width))
        self.last = nn.Linear(width, config.out_channels * math.prod(patch))
        self._initialise()

    def _initialise(self) -> None:
        """The published initialisation."""
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv3d):
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
                if name.startswith(("text.", "time.")):
                    nn.init.normal_(layer.weight, std=0.02)
                else:
                    nn.init.xavier_uniform_(layer.weight.flatten(1))
            elif isinstance(layer, VideoDitBlock):
                nn.init.normal_(layer.table, std=self.config.width**-0.5)
        nn.init.normal_(self.last_table, std=self.config.width**-0.5)
        nn.init.zeros_(self.last.weight)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        tokens: Tensor,
        image: Tensor | None = None,
        image_tokens: Tensor | None = None,
    ) -> Tensor:
        """x (B, C, F, H, W), tokens (B, L, text_width) -> (B, out_channels, F, H, W), float32 if like the original.

        `time` is (B,), or (B, T) for as many equal runs of positions, which are in the order of frames, rows and
        columns: T may be the number of patches along time, or of all. `image` (B, in_channels - C, F, H, W) is joined
        to x, or where that leaves no channels, (B, C, F', H, W), in the place of the first F' frames at time 0;
        `image_tokens` (B, M, image_width) are for networks that read them. ValueError for another number of
        channels or times, sides that no patch fits, or image tokens too many or too few.
        """
        if image is not None:
            x, time = self._with_image(x, time, image)
        grid, dtype = self._grid(x), x.dtype
        h = self.patch(x).flatten(2).transpose(1, 2).contiguous()
        embedded, modulation = self._embedded(time.view(len(x), -1), h.shape[1], dtype)
        h = h.view(len(x), embedded.shape[1], -1, h.shape[-1]).to(embedded.dtype)
        context = self._context(tokens, image_tokens)
        turns = rotations(grid, self.config.width // self.config.heads, x.device)
        for block in self.blocks:
            h = block(h, context, modulation, turns)
        shift, scale = (embedded.float().unsqueeze(2) + self.last_table.float()).unsqueeze(3).unbind(2)
        h = modulate(h, shift, scale)
        out = in_float32(self.last, h) if self.config.like == "original" else self.last(h.to(dtype))
        patches = out.view(len(x), *grid, *self.config.patch_size, -1)
        return patches.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(len(x), -1, *x.shape[2:])

    def _with_image(self, x: Tensor, time: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """The state and its times with an `image`: on more channels, or as the first frames, which are clean."""
        if x.shape[1] < self.config.in_channels:
            return torch.cat([x, image], 1), time
        frames = x.shape[2] // self.config.patch_size[0]
        times = time.view(len(x), 1).repeat(1, frames)
        times[:, : image.shape[2] // self.config.patch_size[0]] = 0
        return torch.cat([image, x[:, :, image.shape[2] :]], 2), times

    def _grid(self, x: Tensor) -> tuple[int, int, int]:
        """The number of patches along frames, rows and columns."""
        if x.shape[1] != self.config.in_channels:
            raise ValueError(f"{x.shape[1]} channels: this network sees {self.config.in_channels}, image and all")
        sides, patch = x.shape[2:], self.config.patch_size
        if any(side % size for side, size in zip(sides, patch, strict=True)):
            said, sizes = (" x ".join(map(str, numbers)) for numbers in (sides, patch))
            raise ValueError(f"a film of {said} latents: frames and sides must be multiples of {sizes}")
        frames, rows, columns = (side // size for side, size in zip(sides, patch, strict=True))
        return frames, rows, columns

    def _embedded(self, time: Tensor, positions: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The embedding (B, T, width) of times (B, T) and the blocks' modulation (B, T, 6, width) float32.

        The embedding is in the dtype of the residual stream.
        """
        if positions % time.shape[1]:
            raise ValueError(f"{time.shape[1]} times for {positions} positions: the first must divide the second")
        if self.config.like == "original":
            features = time_features(time, self.config.time_features, torch.float64)
            embedded = in_float32(self.time, features)
            modulation = in_float32(self.modulation, embedded)
        else:
            embedded = in_float32(self.time, time_features(time, self.config.time_features)).to(dtype)
            modulation = self.modulation(embedded).float()
        return embedded, modulation.view(*time.shape, 6, -1)

    def _context(self, tokens: Tensor, image_tokens: Tensor | None) -> Context:
        if (image_tokens is None) != (self.image is None):
            raise ValueError(f"this network {'reads no' if self.image is None else 'needs'} image tokens")
        # All rows of zeros have the same keys and values in every block, so one of them goes through the layers.
        missing = max(self.config.text_length - tokens.shape[1], 0)
        text = self.text(F.pad(tokens, (0, 0, 0, 1)) if missing else tokens)
        return Context(text, max(missing - 1, 0), None if self.image is None else self.image(image_tokens))
