"""The codec of published latent diffusion: its autoencoder, one number for the scale, and a preview by a fixed map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.core.half import dtype_of
from scorefield.latent.mapped import mapped
from scorefield.nets.kl import Kl

SCALE = 0.18215  # of Stable Diffusion 1 and 2: their latents have a deviation of 1 / SCALE (Rombach et al. 2022)

# The colour of 8 x 8 pixels by each of the four latents. A published approximation, fitted to Stable Diffusion 1.4 by
# K. Turner (discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204); Stable Diffusion 2 has the same
# latents.
_COLOURS = ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473))


class KlCodec(nn.Module):
    """An autoencoder and the number `scale` that makes its latents of unit variance.

    States are float32 outside; the autoencoder runs in its own dtype. The preview is right for the four latents of
    Stable Diffusion 1 and 2.
    """

    colours: Tensor

    def __init__(self, autoencoder: Kl, scale: float = SCALE) -> None:
        super().__init__()
        self.autoencoder, self.scale = autoencoder, scale
        self.register_buffer("colours", torch.tensor(_COLOURS).T.contiguous()[..., None, None], persistent=False)

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
        """x0 (B, C, H, W) of `pixels` (B, 3, 8H, 8W) in [-1, 1]: the mean of what the encoder sees, nothing drawn."""
        return mapped(_mean, self.autoencoder, pixels) * self.scale

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels (B, 3, 8H, 8W) in [-1, 1] of `x0` (B, C, H, W)."""
        return mapped(Kl.decode, self.autoencoder, x0 / self.scale).clamp(-1, 1)

    def preview(self, x0: Tensor) -> Tensor:
        """Small pixels (B, 3, H, W) in [-1, 1] of `x0` (B, 4, H, W), for the price of one product."""
        return F.conv2d(x0.float(), self.colours.float()).clamp(-1, 1)


def _mean(autoencoder: Kl, pixels: Tensor) -> Tensor:
    return autoencoder.encode(pixels)[0]
