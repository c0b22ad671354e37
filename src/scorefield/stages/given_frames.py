"""The frames of a film that a request gives as pictures: what a network that continues them sees besides the state."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from scorefield.errors import RequestError
from scorefield.latent.tiling import Tile
from scorefield.model.codec import Canvas, Codec
from scorefield.model.spec import GivenFrames, Like
from scorefield.request import Drawing
from scorefield.stages.init_state import InitState
from scorefield.stages.input_images import Opened, as_tensor, fitted, resized


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFrames:
    """The first frame of a film and perhaps its last, each (1, 3, H, W) in [-1, 1] in the size of the film."""

    first: Tensor
    last: Tensor | None = None
    as_latents: bool = False  # the first frame as the film's first latent
    tile: Tile = "auto"

    @property
    def encodes(self) -> bool:
        """The frames are encoded."""
        return True

    def encoded(self, codec: Codec, canvas: Canvas, device: torch.device) -> InitState:
        """What the walk begins with: the film's first latent, or what the network sees besides the state.

        That is a mask and the latents of a film that is grey except for the given frames, joined on channels.

        The mask has a channel for each frame of a latent, 1 where the frame is given. The first frame has a latent of
        its own, and counts for all frames of it.
        """
        if self.as_latents:
            return self._first_latent(codec, canvas, device)
        frames, given = torch.zeros(1, canvas.frames, *self.first.shape[1:]), torch.zeros(canvas.frames)
        frames[:, 0], given[0] = self.first, 1
        if self.last is not None:
            frames[:, -1], given[-1] = self.last, 1
        latents, each = codec.encode(frames.to(device), self.tile), codec.stride[0]
        by_latent = torch.cat([given[:1].expand(each - 1), given]).view(-1, each).T.to(device)
        mask = by_latent[None, :, :, None, None].expand(-1, -1, -1, *latents.shape[-2:])
        return InitState(image=torch.cat([mask, latents], 1))

    def _first_latent(self, codec: Codec, canvas: Canvas, device: torch.device) -> InitState:
        latent = codec.encode(self.first[:, None].to(device), self.tile)
        x0 = torch.zeros(1, *codec.shape(canvas), device=device)
        x0[:, :, :1] = latent
        keep = torch.zeros(1, 1, x0.shape[2], 1, 1, device=device)
        keep[:, :, 0] = 1
        return InitState(x0=x0, keep=keep, image=latent, from_noise=True)

    def pasted(self, frames: Tensor) -> Tensor:
        """The frames as they are: the network draws the given ones, too."""
        return frames


def start(
    asked: Drawing, first: Opened, last: Opened | None, canvas: Canvas, how: GivenFrames, grid: int
) -> StartFrames:
    """The given frames in the size of the film; RequestError where first and last are one frame.

    A picture that has the film's aspect ratio up to the `grid` of sizes (px) is stretched to it, never cropped.
    """
    if last is not None and canvas.frames == 1:
        raise RequestError("a film that begins and ends with a picture needs more than 1 frame", option="frames")
    size = canvas.width, canvas.height

    def frame(image: Image.Image) -> Tensor:
        return _frame(image, how.like, size, "stretch" if _is_near(image, size, grid) else asked.fit)

    return StartFrames(
        first=frame(first.pixels),
        last=None if last is None else frame(last.pixels),
        as_latents=how.as_latents,
        tile=asked.tile,
    )


def _frame(image: Image.Image, like: Like, size: tuple[int, int], fit: str) -> Tensor:
    if like == "diffusers":
        return as_tensor(fitted(image, size, fit, Image.Resampling.LANCZOS)) / 127.5 - 1
    return resized(as_tensor(_cropped(image, size) if fit == "crop" else image) / 127.5 - 1, size)


def _is_near(image: Image.Image, size: tuple[int, int], grid: int) -> bool:
    """Whether a picture's aspect ratio differs from that of `size` by less than a step of the grid."""
    (width, height), ratio = size, image.height / image.width
    return min(abs(width * ratio - height), abs(height / ratio - width)) < grid


def _cropped(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of a picture in the aspect ratio of `size`, to a pixel."""
    scale = min(image.width / size[0], image.height / size[1])
    width, height = (max(1, round(scale * side)) for side in size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
