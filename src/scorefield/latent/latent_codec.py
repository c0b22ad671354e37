"""Codecs of pictures and of frames: an autoencoder, the statistics of its latents, and a linear preview."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.core.half_precision import dtype_of, no_autocast, run_in_dtype
from scorefield.core.presence import OnDemand
from scorefield.latent import tiling

Side = Callable[[Any, Tensor], Tensor]  # an autoencoder and a batch
_ANSWER = "the autoencoder's answer"


class Autoencoder(Protocol):
    """A network that a codec can run."""

    @property
    def factor(self) -> int: ...  # pixels per latent along a side


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
        self.on_demand: OnDemand[nn.Module] | None = getattr(autoencoder, "on_demand", None)
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
        """(C, H, W) of the latents of a picture; ValueError for a side that is not a multiple of `size_factor`."""
        factor = self.size_factor
        if width % factor or height % factor:
            raise ValueError(f"picture of {width} x {height}: sides must be multiples of {factor}")
        return self.preview_weight.shape[1], height // factor, width // factor

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


class PictureLatents(tiling.Sides, Protocol):
    """A codec of pictures: pixels (B, 3, H, W) in [-1, 1] to latents (B, C, h, w) of unit variance and back."""

    def shape(self, width: int, height: int) -> tuple[int, int, int]: ...
    def preview(self, x0: Tensor) -> Tensor: ...


class Size(Protocol):
    """The size of a picture."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


@dataclass(frozen=True, eq=False)
class PictureCodec:
    """A codec of frames (B, 1, 3, H, W), made from one of pictures."""

    pictures: PictureLatents

    @property
    def on_demand(self) -> OnDemand[nn.Module] | None:
        """The turns of the autoencoder, if it is on demand."""
        return getattr(self.pictures, "on_demand", None)

    @property
    def stride(self) -> tuple[int, int, int]:
        """One frame, and pixels per latent along a side."""
        return 1, self.pictures.size_factor, self.pictures.size_factor

    def shape(self, canvas: Size) -> tuple[int, ...]:
        """(C, h, w) of the latents of a picture."""
        return self.pictures.shape(canvas.width, canvas.height)

    def encode(self, frames: Tensor, tile: tiling.Tile = "auto") -> Tensor:
        """The latents (B, C, h, w) of `frames` (B, 1, 3, H, W)."""
        return tiling.encode(self.pictures, frames[:, 0], tile)

    def decode(self, x0: Tensor, tile: tiling.Tile = "auto") -> Iterator[Tensor]:
        """The one frame (B, 1, 3, H, W) of `x0` (B, C, h, w)."""
        return iter([tiling.decode(self.pictures, x0, tile)[:, None]])

    def preview(self, x0: Tensor) -> Tensor:
        """A small frame (B, 1, 3, h, w) at the cost of one product."""
        return self.pictures.preview(x0)[:, None]


class Statistics(NamedTuple):
    """The mean and deviation (C,) of latents, and the linear map (C + 1, 3) from x0 to colours, with its constant."""

    mean: Tensor
    deviation: Tensor
    colours: Tensor


def fit_statistics(latents: Tensor, colours: Tensor) -> Statistics:
    """Fit the statistics of latents (N, C), whose pixels have the mean colours (N, 3); the map by least squares."""
    x, y = latents.double(), colours.double()
    mean, deviation = x.mean(0), x.std(0)
    x = (x - mean) / deviation
    fitted = torch.linalg.lstsq(torch.cat([x, torch.ones_like(x[:, :1])], 1), y, driver="gelsd").solution
    return Statistics(mean, deviation, fitted)
