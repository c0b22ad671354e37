"""The codec of every model of latents: an autoencoder, the statistics of its latents, and a linear preview."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.core.half_precision import dtype_of, no_autocast, repaired
from scorefield.notes import HalfPrecisionWarning, note


class Autoencoder(Protocol):
    """What a codec needs of its network, an nn.Module."""

    @property
    def factor(self) -> int: ...  # pixels per latent along a side
    def latent_shape(self, batch: int, height: int, width: int) -> tuple[int, int, int, int]: ...
    def decode(self, latents: Tensor) -> Tensor: ...


class LatentCodec(nn.Module, ABC):
    """An autoencoder with x0 = (latents - shift) / scale * factor, of about zero mean and unit variance.

    `shift` and `scale` are a number or a tensor (C,). `preview_weight` (3, C) and `preview_bias` (3,) map x0 to the
    mean colour of its pixels. Arguments and results are float32; the autoencoder runs in its own dtype, and samples
    that are not finite in half precision run again in float32, with a HalfPrecisionWarning. A subclass says how to
    encode.
    """

    autoencoder: nn.Module
    shift: Tensor | float
    scale: Tensor | float
    factor: float
    preview_weight: Tensor
    preview_bias: Tensor

    @property
    def size_factor(self) -> int:
        """Pixels per latent along a side."""
        return _network(self.autoencoder).factor

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the autoencoder runs in."""
        return dtype_of(self.autoencoder)

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, H, W) of the latents of a picture; RequestError for a side that is no multiple of `size_factor`."""
        return _network(self.autoencoder).latent_shape(1, height, width)[1:]

    @staticmethod
    @abstractmethod
    def latents(autoencoder: nn.Module, pixels: Tensor) -> Tensor:
        """The latents (B, C, H, W) of `pixels`, without the statistics."""

    def encode(self, pixels: Tensor) -> Tensor:
        """x0 (B, C, H, W) of `pixels` (B, 3, 8H, 8W) in [-1, 1]."""
        latents = _run(self.latents, self.autoencoder, pixels)
        return (latents - _channel(self.shift)) / _channel(self.scale) * self.factor

    def decode(self, x0: Tensor) -> Tensor:
        """Pixels (B, 3, 8H, 8W) in [-1, 1] of `x0` (B, C, H, W)."""
        latents = x0 / self.factor * _channel(self.scale) + _channel(self.shift)
        return _run(_decoded, self.autoencoder, latents).clamp(-1, 1)

    def preview(self, x0: Tensor) -> Tensor:
        """Small pixels (B, 3, H, W) in [-1, 1] of `x0` (B, C, H, W), for the price of one product."""
        weight, bias = self.preview_weight.float()[..., None, None], self.preview_bias.float()
        with no_autocast():
            return F.conv2d(x0.float(), weight, bias).clamp(-1, 1)


def _network(autoencoder: nn.Module) -> Autoencoder:
    return cast(Autoencoder, autoencoder)


def _decoded(autoencoder: nn.Module, latents: Tensor) -> Tensor:
    return _network(autoencoder).decode(latents)


def _channel(value: Tensor | float) -> Tensor | float:
    return value.float()[:, None, None] if isinstance(value, Tensor) else value


def _run(side: Callable[[nn.Module, Tensor], Tensor], autoencoder: nn.Module, values: Tensor) -> Tensor:
    """`side(autoencoder, values)`, which encodes or decodes; `values` (B, ...) and the result are float32."""

    def run(net: nn.Module, rows: Tensor | slice, dtype: torch.dtype) -> Tensor:
        return side(net, values[rows].to(dtype)).float()

    return repaired(run, autoencoder, lambda what: note(HalfPrecisionWarning, f"the autoencoder's answer {what}"))
