"""The codec of latent models: an autoencoder, the statistics of its latents, and a linear preview."""

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.core.half_precision import dtype_of, no_autocast, run_in_dtype

Side = Callable[[Any, Tensor], Tensor]  # an autoencoder and a batch
_ANSWER = "the autoencoder's answer"


class Autoencoder(Protocol):
    """A network that a codec can run."""

    @property
    def factor(self) -> int: ...  # pixels per latent along a side
    def latent_shape(self, batch: int, height: int, width: int) -> tuple[int, int, int, int]: ...


class LatentCodec(nn.Module):
    """An autoencoder and x0 = (latents - shift) / scale * factor, with about zero mean and unit variance.

    `encoder` and `decoder` run the autoencoder. `shift` and `scale` are a number or a tensor (C,). `preview_weight`
    (3, C) and `preview_bias` (3,) map x0 to the mean colour of its pixels. Arguments and results are float32; the
    autoencoder runs in its own dtype, and samples that are not finite in half precision run again in float32, with a
    HalfPrecisionWarning.
    """

    shift: Tensor | float
    scale: Tensor | float
    preview_weight: Tensor
    preview_bias: Tensor

    def __init__(self, autoencoder: nn.Module, encoder: Side, decoder: Side, factor: float = 1.0) -> None:
        super().__init__()
        self.autoencoder, self.factor = autoencoder, factor
        self._encoder, self._decoder = encoder, decoder

    @property
    def size_factor(self) -> int:
        """Pixels per latent along a side."""
        return cast(Autoencoder, self.autoencoder).factor

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the autoencoder runs in."""
        return dtype_of(self.autoencoder)

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, H, W) of a picture's latents; ValueError for a side that is not a multiple of `size_factor`."""
        return cast(Autoencoder, self.autoencoder).latent_shape(1, height, width)[1:]

    def encode(self, pixels: Tensor) -> Tensor:
        """x0 (B, C, H, W) of `pixels` (B, 3, 8H, 8W) in [-1, 1]."""
        latents = run_in_dtype(self._encoder, self.autoencoder, pixels, _ANSWER)
        return (latents - _channel(self.shift)) / _channel(self.scale) * self.factor

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels (B, 3, 8H, 8W) in [-1, 1] of `x0` (B, C, H, W)."""
        latents = x0 / self.factor * _channel(self.scale) + _channel(self.shift)
        return run_in_dtype(self._decoder, self.autoencoder, latents, _ANSWER).clamp(-1, 1)

    def preview(self, x0: Tensor) -> Tensor:
        """Small pixels (B, 3, H, W) in [-1, 1] of `x0` (B, C, H, W), at the cost of one matrix product."""
        weight, bias = self.preview_weight.float()[..., None, None], self.preview_bias.float()
        with no_autocast():
            return F.conv2d(x0.float(), weight, bias).clamp(-1, 1)


def _channel(value: Tensor | float) -> Tensor | float:
    return value.float()[:, None, None] if isinstance(value, Tensor) else value
