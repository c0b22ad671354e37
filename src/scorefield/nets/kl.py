"""Latent diffusion's autoencoder (Rombach et al. 2022), the vae of Stable Diffusion 1, 2 and XL."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.layers import attend, channels_last
from scorefield.nets.packed import Conv2d, Linear
from scorefield.nets.unet_blocks import GROUPS, Grow, ResBlock, zeroed

EPS = 1e-6  # of every group norm here


@dataclass(frozen=True, slots=True, kw_only=True)
class KlConfig:
    """Widths and depths, by resolution from the finest; every step to a coarser one halves the sides."""

    channels: int = 4  # of the latents
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    resblocks: int = 2  # per resolution of the encoder; the decoder has one more


KL = KlConfig()  # the same network for SD 1, 2 and XL; XL's weights differ


class Attention(nn.Module):
    """Residual self-attention over all positions with one head, (B, width, H, W) -> same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, EPS)
        self.q, self.k, self.v = (Linear(width, width) for _ in range(3))
        self.out = zeroed(Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)[:, None]
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)[:, None]
        mixed: Tensor = self.out(attend(self.q(h), self.k(h), self.v(h)), onto=rows)
        return mixed.view(rows.shape[0], *x.shape[-2:], -1).permute(0, 3, 1, 2)


class Shrink(nn.Module):
    """Halve the sides by a 3x3 convolution of stride 2, padded only at the right and lower edges."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return halved


def _blocks(before: int, after: int, count: int) -> Iterator[ResBlock]:
    yield ResBlock(before, after, eps=EPS)
    for _ in range(count - 1):
        yield ResBlock(after, after, eps=EPS)


def _middle(width: int) -> nn.Sequential:
    return nn.Sequential(ResBlock(width, width, eps=EPS), Attention(width), ResBlock(width, width, eps=EPS))


def _last(width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(GROUPS, width, EPS), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1))


class Encoder(nn.Module):
    """Pixels (B, 3, H, W) -> (B, 2 * channels, H / factor, W / factor), from fine to coarse."""

    def __init__(self, config: KlConfig) -> None:
        super().__init__()
        widths = [config.width, *(multiplier * config.width for multiplier in config.multipliers)]
        self.first = nn.Conv2d(3, config.width, 3, padding=1)
        self.down = nn.Sequential()
        for level, (before, after) in enumerate(pairwise(widths)):
            shrink = [Shrink(after)] if level < len(config.multipliers) - 1 else []
            self.down.append(nn.Sequential(*_blocks(before, after, config.resblocks), *shrink))
        self.middle = _middle(widths[-1])
        self.last = _last(widths[-1], 2 * config.channels)

    def forward(self, pixels: Tensor) -> Tensor:
        moments: Tensor = self.last(self.middle(self.down(self.first(channels_last(pixels)))))
        return moments


class Decoder(nn.Module):
    """(B, channels, H, W) -> pixels (B, 3, factor * H, factor * W), from coarse to fine."""

    def __init__(self, config: KlConfig) -> None:
        super().__init__()
        widths = [multiplier * config.width for multiplier in reversed(config.multipliers)]
        self.first = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.middle = _middle(widths[0])
        self.up = nn.Sequential()
        for level, (before, after) in enumerate(pairwise(widths[:1] + widths)):
            grow = [Grow(after)] if level < len(widths) - 1 else []
            self.up.append(nn.Sequential(*_blocks(before, after, config.resblocks + 1), *grow))
        self.last = _last(widths[-1], 3)

    def forward(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self.last(self.up(self.middle(self.first(channels_last(latents)))))
        return pixels


class Kl(nn.Module):
    """A variational autoencoder, trained with a weak KL term.

    Its latents are not scaled here: the factor that brings them to unit variance differs by model.
    """

    def __init__(self, config: KlConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.moments = nn.Conv2d(2 * config.channels, 2 * config.channels, 1)
        self.entry = nn.Conv2d(config.channels, config.channels, 1)
        self.decoder = Decoder(config)

    @property
    def factor(self) -> int:
        """Pixels per latent along a side."""
        return 1 << (len(self.config.multipliers) - 1)

    def latent_shape(self, batch: int, height: int, width: int) -> tuple[int, int, int, int]:
        """The shape of the latents of `batch` pictures; ValueError for sides that are not multiples of `factor`."""
        if height % self.factor or width % self.factor or min(height, width) < self.factor:
            raise ValueError(f"picture of {width} x {height}: sides must be multiples of {self.factor}")
        return batch, self.config.channels, height // self.factor, width // self.factor

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (B, channels, H / factor, W / factor), of `pixels` (B, 3, H, W) in [-1, 1]."""
        self.latent_shape(len(pixels), *pixels.shape[-2:])
        mean, log_variance = self.moments(self.encoder(pixels)).chunk(2, 1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, factor * H, factor * W), unclamped, of `latents` (B, channels, H, W)."""
        pixels: Tensor = self.decoder(self.entry(latents))
        return pixels
