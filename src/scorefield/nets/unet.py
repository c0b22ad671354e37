"""Latent diffusion's U-Net (Rombach et al. 2022), the network of Stable Diffusion 1, 2 and XL."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.layers import channels_last, in_float32
from scorefield.nets.packed import Conv2d
from scorefield.nets.unet_blocks import GROUPS, Grow, ResBlock, Transformer, zeroed


@dataclass(frozen=True, slots=True, kw_only=True)
class UnetConfig:
    """Widths and depths, by resolution from the finest."""

    in_channels: int = 4  # of the latents and whatever is concatenated to them
    out_channels: int = 4
    channels: int = 320
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    resblocks: int = 2  # per resolution on the way down; one more on the way up
    depths: tuple[int, ...] = (1, 1, 1, 0)  # transformer blocks after each residual block
    middle_depth: int = 1
    heads: int | None = 8  # of every transformer; None if `head_width` is given
    head_width: int | None = None
    context_width: int = 768  # of the tokens
    linear_projections: bool = False  # whether files store the transformers' projections as linear layers, not 1x1
    pooled_width: int | None = None  # of the vector that is added to the time; None for a network without one

    def __post_init__(self) -> None:
        if len(self.depths) != len(self.multipliers):
            raise ValueError(f"{len(self.multipliers)} multipliers and {len(self.depths)} depths: give equally many")
        if (self.heads is None) == (self.head_width is None):
            raise ValueError("give either heads or head_width")

    def heads_at(self, width: int) -> int:
        """The number of heads of a transformer of that width."""
        return self.heads or width // (self.head_width or width)


SD1 = UnetConfig()
SD2 = UnetConfig(heads=None, head_width=64, context_width=1024, linear_projections=True)
SD2_UNCLIP_H = replace(SD2, pooled_width=2048)  # CLIP ViT-H's image vector and its noise level
SD2_UNCLIP_L = replace(SD2, pooled_width=1536)
SDXL = replace(
    SD2,
    multipliers=(1, 2, 4),
    depths=(0, 2, 10),
    middle_depth=10,
    context_width=2048,
    pooled_width=2816,  # the second text encoder's vector, and sizes and crop, each as time features
)


def time_features(time: Tensor, features: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Cosines, then sines, (..., features) of `time` (...), periods 2 pi to 2 pi 10^4 (Ho et al. 2020), in `dtype`.

    The operations are in the published order: other roundings of the rates change the features of time 1000 by 3e-5.
    """
    half = features // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, dtype=dtype, device=time.device) / half)
    angles = time.to(dtype)[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], -1)


def _embedding(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, after), nn.SiLU(), nn.Linear(after, after))


class Stage(nn.Module):
    """A residual block and, if `depth` is not 0, a transformer, (B, before, H, W) -> (B, after, H, W)."""

    def __init__(self, config: UnetConfig, before: int, after: int, depth: int) -> None:
        super().__init__()
        self.residual = ResBlock(before, after, time_width=4 * config.channels)
        heads = config.heads_at(after)
        self.transformer = Transformer(after, config.context_width, heads, depth) if depth else None

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        h: Tensor = self.residual(x, time)
        return h if self.transformer is None else self.transformer(h, tokens)


class Down(nn.Module):
    """The stages of one resolution, and the convolution to the next coarser one if there is one."""

    def __init__(self, config: UnetConfig, befores: Sequence[int], after: int, depth: int, coarsest: bool) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Stage(config, before, after, depth) for before in befores)
        self.shrink = None if coarsest else Conv2d(after, after, 3, stride=2, padding=1)

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor) -> list[Tensor]:
        """The output of each layer: all are skips for the way up, and the last is the input of the next `Down`."""
        skips = []
        for stage in self.stages:
            x = stage(x, time, tokens)
            skips.append(x)
        return skips if self.shrink is None else [*skips, self.shrink(x)]


class Up(nn.Module):
    """The stages of one resolution, each with a skip joined to its input, and the upsampling to the next, if any."""

    def __init__(self, config: UnetConfig, befores: Sequence[int], after: int, depth: int, finest: bool) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Stage(config, before, after, depth) for before in befores)
        self.grow = None if finest else Grow(after)

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor, tokens: Tensor) -> Tensor:
        """Run the stages; the skips that they use are removed from the end of the list."""
        for stage in self.stages:
            x = stage(torch.cat([x, skips.pop()], 1), time, tokens)
        # The next skip gives the size, since half of an odd side was rounded up.
        return x if self.grow is None else self.grow(x, skips[-1].shape[-2:])


class Unet(nn.Module):
    """Down through coarser and coarser grids and up again, with a skip from each stage down to its partner up.

    A new network returns zeros, as published, since its last layer starts at 0. Its weights should be channels last
    like its activations; otherwise each forward pass reorders all 3x3 kernels, a fifth of its time on a CPU.
    """

    def __init__(self, config: UnetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.time = _embedding(width, 4 * width)
        self.pooled = None if config.pooled_width is None else _embedding(config.pooled_width, 4 * width)
        self.first = nn.Conv2d(config.in_channels, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips = self._build_down()
        width = skips[-1]
        self.middle = nn.ModuleList(Stage(config, width, width, depth) for depth in (config.middle_depth, 0))
        self._build_up(skips)
        self.last_norm = nn.GroupNorm(GROUPS, config.channels * config.multipliers[0], 1e-5)
        self.last = zeroed(nn.Conv2d(config.channels * config.multipliers[0], config.out_channels, 3, padding=1))

    def _build_down(self) -> list[int]:
        """Build the way down, from fine to coarse; returns the widths of its skips."""
        config = self.config
        skips = [config.channels]
        for level, depth in enumerate(config.depths):
            width, coarsest = config.multipliers[level] * config.channels, level == len(config.depths) - 1
            befores = [skips[-1]] + [width] * (config.resblocks - 1)
            self.down.append(Down(config, befores, width, depth, coarsest))
            skips += [width] * (config.resblocks + (not coarsest))
        return skips

    def _build_up(self, skips: list[int]) -> None:
        """Build the way up, from coarse to fine; each stage takes the last of the `skips` that are left."""
        config, before = self.config, skips[-1]
        for level in reversed(range(len(config.depths))):
            width, befores = config.multipliers[level] * config.channels, []
            for _ in range(config.resblocks + 1):
                befores.append(before + skips.pop())
                before = width
            self.up.append(Up(config, befores, width, config.depths[level], finest=level == 0))

    def forward(
        self, x: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor | None = None, image: Tensor | None = None
    ) -> Tensor:
        """x (B, C, H, W), time (B,), tokens (B, L, context_width) -> (B, out_channels, H, W) float32; any H and W.

        `pooled` (B, pooled_width) is for networks that have a `pooled_width`; `image` (B, in_channels - C, H, W) is
        concatenated to x. ValueError for another number of channels, and for a missing or unexpected `pooled`.
        """
        x = x if image is None else torch.cat([x, image], 1)
        if x.shape[1] != self.config.in_channels:
            raise ValueError(f"{x.shape[1]} channels: this U-Net takes {self.config.in_channels}, image included")
        embedding = F.silu(self.embedding(time, pooled, x.dtype))  # activated once for all residual blocks
        skips = [self.first(channels_last(x))]
        for level in self.down:
            skips += level(skips[-1], embedding, tokens)
        h = skips[-1]
        for stage in self.middle:
            h = stage(h, embedding, tokens)
        for level in self.up:
            h = level(h, skips, embedding, tokens)
        return in_float32(self.last, F.silu(in_float32(self.last_norm, h)))

    def embedding(self, time: Tensor, pooled: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The embedding (B, 4 * channels) of the time, plus that of `pooled` for networks that take one."""
        if (pooled is None) != (self.pooled is None):
            raise ValueError(f"this U-Net {'takes no' if self.pooled is None else 'needs a'} vector `pooled`")
        embedded: Tensor = self.time(time_features(time, self.config.channels).to(dtype))
        return embedded if self.pooled is None else embedded + self.pooled(pooled)
