"""The embedded autoencoder: pixels to a small grid of unit-length codes, and back."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.layers import ChannelNorm, ConvBlock, channels_last


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderConfig:
    """Widths and blocks at 1/4, 1/8 and 1/2 of the picture's side; the latents are at 1/8."""

    channels: int = 8  # of the latents
    width_quarter: int = 96
    width_eighth: int = 192
    width_half: int = 32  # decoder only
    encoder_quarter_blocks: int = 1
    encoder_eighth_blocks: int = 2
    decoder_eighth_blocks: int = 2
    decoder_quarter_blocks: int = 2
    decoder_half_blocks: int = 1
    latent_noise: float = 0.1  # std of the noise that training adds to the latents, whose variance is 1


class Autoencoder(nn.Module):
    """Deterministic autoencoder of factor 8; every latent position has root-mean-square 1 over its channels.

    This bound replaces a KL term. Codes cannot grow until the noise that training adds is negligible, so nearby codes
    must decode to similar pictures, and small errors of a diffusion model stay small.
    """

    factor = 8

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        quarter, eighth, half = config.width_quarter, config.width_eighth, config.width_half
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(3 * 16, quarter, 3, padding=1),
            *(ConvBlock(quarter) for _ in range(config.encoder_quarter_blocks)),
            nn.Conv2d(quarter, eighth, 2, stride=2),
            *(ConvBlock(eighth) for _ in range(config.encoder_eighth_blocks)),
            ChannelNorm(eighth, eps=1e-6),
            nn.Conv2d(eighth, config.channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.channels, eighth, 3, padding=1),
            *(ConvBlock(eighth) for _ in range(config.decoder_eighth_blocks)),
            nn.Conv2d(eighth, 4 * quarter, 1),
            nn.PixelShuffle(2),
            *(ConvBlock(quarter) for _ in range(config.decoder_quarter_blocks)),
            nn.Conv2d(quarter, 4 * half, 1),
            nn.PixelShuffle(2),
            *(ConvBlock(half) for _ in range(config.decoder_half_blocks)),
            ChannelNorm(half, eps=1e-6),
            nn.Conv2d(half, 3 * 4, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def latent_shape(self, batch: int, height: int, width: int) -> tuple[int, int, int, int]:
        """The shape of the latents of `batch` pictures; ValueError for sides that are not multiples of 8."""
        if height % self.factor or width % self.factor or min(height, width) < self.factor:
            raise ValueError(f"picture of {width} x {height}: sides must be multiples of {self.factor}")
        return batch, self.config.channels, height // self.factor, width // self.factor

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents (B, C, H/8, W/8) of `pixels` (B, 3, H, W) in [-1, 1]."""
        self.latent_shape(len(pixels), *pixels.shape[-2:])
        h = self.encoder(channels_last(pixels))
        return F.rms_norm(h.permute(0, 2, 3, 1), h.shape[1:2], eps=1e-6).permute(0, 3, 1, 2)

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels (B, 3, 8H, 8W), unclamped, of latents `x0` (B, C, H, W)."""
        pixels: Tensor = self.decoder(channels_last(x0))
        return pixels

    def forward(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """`pixels` through the bottleneck; unit normal `noise` of the latents' shape, for training, is scaled here."""
        x0 = self.encode(pixels)
        return self.decode(x0 if noise is None else x0 + self.config.latent_noise * noise)
