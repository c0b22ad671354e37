"""The codec: pixels to latents of zero mean and unit variance, back, and a cheap preview."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.core.half_precision import dtype_of
from scorefield.latent.run_in_dtype import mapped
from scorefield.nets.autoencoder import Autoencoder


class Codec(nn.Module):
    """An autoencoder, the mean `shift` (C,) and deviation `scale` (C,) of its latents, and a linear map for previews.

    `preview_weight` (3, C) and `preview_bias` (3,) map latents of unit variance to the mean colour of their pixels.
    In a new codec, shift and scale change nothing and the preview is grey. Arguments and results are float32; the
    autoencoder runs in its own dtype.
    """

    shift: Tensor
    scale: Tensor
    preview_weight: Tensor
    preview_bias: Tensor

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        channels = autoencoder.config.channels
        self.autoencoder = autoencoder
        self.register_buffer("shift", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("preview_weight", torch.zeros(3, channels))
        self.register_buffer("preview_bias", torch.zeros(3))

    @property
    def size_factor(self) -> int:
        """Pixels per latent along a side."""
        return self.autoencoder.factor

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the autoencoder runs in."""
        return dtype_of(self.autoencoder)

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, H, W) of the latents of a picture; a side that is no multiple of `size_factor` is a ValueError."""
        return self.autoencoder.latent_shape(1, height, width)[1:]

    def encode(self, pixels: Tensor) -> Tensor:
        """x0 (B, C, H, W) of `pixels` (B, 3, 8H, 8W) in [-1, 1]."""
        raw = mapped(Autoencoder.encode, self.autoencoder, pixels)
        return (raw - _channel(self.shift)) / _channel(self.scale)

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels (B, 3, 8H, 8W) in [-1, 1] of `x0` (B, C, H, W)."""
        raw = x0 * _channel(self.scale) + _channel(self.shift)
        return mapped(Autoencoder.decode, self.autoencoder, raw).clamp(-1, 1)

    def preview(self, x0: Tensor) -> Tensor:
        """Small pixels (B, 3, H, W) in [-1, 1] of `x0` (B, C, H, W), for the price of one product."""
        weight = self.preview_weight.float()[..., None, None]
        return F.conv2d(x0.float(), weight, self.preview_bias.float()).clamp(-1, 1)


def _channel(value: Tensor) -> Tensor:
    return value.float()[:, None, None]
