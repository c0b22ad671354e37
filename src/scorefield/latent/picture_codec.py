"""Codecs of pictures as codecs of frames; large pictures are coded in tiles."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from scorefield.latent import tiling


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


class PictureCodec:
    """A codec of frames (B, 1, 3, H, W) made of a codec of pictures."""

    def __init__(self, pictures: PictureLatents) -> None:
        self.pictures = pictures

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
        yield tiling.decode(self.pictures, x0, tile)[:, None]

    def preview(self, x0: Tensor) -> Tensor:
        """A small frame (B, 1, 3, h, w), at the cost of one matrix product."""
        return self.pictures.preview(x0)[:, None]
