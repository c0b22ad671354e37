"""The codec of published latent diffusion: one factor for all latents, and a published preview."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.latent.latent_codec import LatentCodec
from scorefield.nets.kl import Kl

SCALE = 0.18215  # of Stable Diffusion 1 and 2: their latents have a deviation of 1 / SCALE (Rombach et al. 2022)

# The contribution of each of the four latents to the colour (red, green, blue) of its 8 x 8 pixels; the last row is the
# colour where all latents are 0. A published approximation, fitted to Stable Diffusion 1.4 by K. Turner
# (discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204); Stable Diffusion 2 has the same latents.
COLOURS: Sequence[Sequence[float]] = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
    (0, 0, 0),
)

XL_SCALE = 0.13025  # of Stable Diffusion XL (Podell et al. 2023); its preview is from ComfyUI's latent_formats.py
XL_COLOURS = (
    (0.3651, 0.4232, 0.4341), (-0.2533, -0.0042, 0.1068), (0.1076, 0.1111, -0.0362), (-0.3165, -0.2492, -0.2188),
    (0.1084, -0.0175, -0.0011),
)  # fmt: skip


class Latents(NamedTuple):
    """The statistics in x0 = (latents - mean) / deviation * factor; mean and deviation have a number per channel."""

    factor: float
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()


def published(*, xl: bool) -> Latents:
    """The latents of Stable Diffusion 1 and 2, or of XL."""
    return Latents(XL_SCALE if xl else SCALE)


class KlCodec(LatentCodec):
    """A KL autoencoder, with the published factor or `latents` to bring its latents to unit variance.

    It encodes to the mean of the encoder's distribution, not to a sample. The preview is the published one of Stable
    Diffusion 1 and 2, or with `xl` that of XL.
    """

    autoencoder: Kl

    def __init__(self, autoencoder: Kl, latents: Latents | None = None, *, xl: bool = False) -> None:
        factor, colours = published(xl=xl).factor, XL_COLOURS if xl else COLOURS
        latents = latents or Latents(factor)
        super().__init__(autoencoder, _mean, Kl.decode, latents.factor)
        *weight, bias = torch.tensor(colours, dtype=torch.float32)
        drawn = torch.stack(weight, 1)
        self.shift, self.scale = 0.0, 1.0
        if latents.mean:
            del self.shift, self.scale
            shift, scale = torch.tensor([latents.mean, latents.deviation], dtype=torch.float32)
            self.register_buffer("shift", shift, persistent=False)
            self.register_buffer("scale", scale, persistent=False)
            drawn, bias = drawn * scale, bias + drawn @ shift * factor
        self.register_buffer("preview_weight", drawn * (factor / latents.factor), persistent=False)
        self.register_buffer("preview_bias", bias, persistent=False)


def _mean(autoencoder: Kl, pixels: Tensor) -> Tensor:
    return autoencoder.encode(pixels)[0]
