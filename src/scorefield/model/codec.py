"""The contract of a codec: frames to the latents that a model draws, and back."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from torch import Tensor

from scorefield.latent.tiling import Tile


class Canvas(NamedTuple):
    """The size of one output; a picture has one frame."""

    width: int  # px
    height: int  # px
    frames: int = 1
    fps: float | None = None  # frames per second, of a film


class Codec(Protocol):
    """Frames (B, F, 3, H, W) in [-1, 1] to latents of unit variance and back; only a codec knows scale and shift."""

    @property
    def stride(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels per latent."""
        ...

    def shape(self, canvas: Canvas) -> tuple[int, ...]:
        """The shape of the latents of one output, without the batch."""
        ...

    def encode(self, frames: Tensor, tile: Tile = "auto") -> Tensor:
        """The latents (B, ...) of `frames` (B, F, 3, H, W)."""
        ...

    def decode(self, x0: Tensor, tile: Tile = "auto") -> Iterator[Tensor]:
        """The frames of `x0` (B, ...) in order, in chunks (B, f, 3, H, W)."""
        ...

    def preview(self, x0: Tensor) -> Tensor:
        """A cheap preview: small frames (B, f, 3, h, w)."""
        ...
