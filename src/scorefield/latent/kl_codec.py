"""The codec of published latent diffusion: its autoencoder, one number for the scale, and a preview by a fixed map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.core.half_precision import dtype_of
from scorefield.latent.run_in_dtype import mapped
from scorefield.nets.kl import Kl

SCALE = 0.18215  # of Stable Diffusion 1 and 2: their latents have a deviation of 1 / SCALE (Rombach et al. 2022)

# What each of the four latents adds to the colour (red, green, blue) of its 8 x 8 pixels; the last row is the colour
# where all latents are 0. A published approximation, fitted to Stable Diffusion 1.4 by K. Turner
# (discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204); Stable Diffusion 2 has the same latents.
COLOURS = ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473), (0, 0, 0))

XL_SCALE = 0.13025  # of Stable Diffusion XL (Podell et al. 2023), whose preview is that of ComfyUI's latent_formats.py
XL_COLOURS = (
    (0.3651, 0.4232, 0.4341), (-0.2533, -0.0042, 0.1068), (0.1076, 0.1111, -0.0362), (-0.3165, -0.2492, -0.2188),
    (0.1084, -0.0175, -0.0011),
)  # fmt: skip


class KlCodec(nn.Module):
    """An autoencoder and the number `scale` that brings its latents to unit variance.

    Arguments and results are float32; the autoencoder runs in its own dtype. The preview is linear, with the `colours`
    (5, 3) of the four latents: those of Stable Diffusion 1 and 2, or of XL.
    """

    colours: Tensor

    def __init__(self, autoencoder: Kl, scale: float = SCALE, colours: Sequence[Sequence[float]] = COLOURS) -> None:
        super().__init__()
        self.autoencoder, self.scale = autoencoder, scale
        self.register_buffer("colours", torch.tensor(colours).T.contiguous()[..., None, None], persistent=False)

    @property
    def size_factor(self) -> int:
        """Pixels per latent along a side."""
        return self.autoencoder.factor

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the autoencoder runs in."""
        return dtype_of(self.autoencoder)

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, H, W) of the latents of a picture; a side that is no multiple of the autoencoder's is a ValueError."""
        return self.autoencoder.latent_shape(1, height, width)[1:]

    def encode(self, pixels: Tensor) -> Tensor:
        """x0 (B, C, H, W) of `pixels` (B, 3, 8H, 8W) in [-1, 1]: the mean of the encoder's distribution, no sample."""
        return mapped(_mean, self.autoencoder, pixels) * self.scale

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels (B, 3, 8H, 8W) in [-1, 1] of `x0` (B, C, H, W)."""
        return mapped(Kl.decode, self.autoencoder, x0 / self.scale).clamp(-1, 1)

    def preview(self, x0: Tensor) -> Tensor:
        """Small pixels (B, 3, H, W) in [-1, 1] of `x0` (B, 4, H, W), for the price of one product."""
        weight, bias = self.colours.float()[:, :-1], self.colours.float()[:, -1, 0, 0]
        return F.conv2d(x0.float(), weight, bias).clamp(-1, 1)


def _mean(autoencoder: Kl, pixels: Tensor) -> Tensor:
    return autoencoder.encode(pixels)[0]
