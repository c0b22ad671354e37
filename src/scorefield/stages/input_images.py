"""The input pictures of a request: read, hashed and decoded once, and fitted to its size."""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from scorefield.errors import RequestError
from scorefield.files import inputs
from scorefield.request import LONGEST_SIDE, Drawing, InputImage

_WHITE = 128  # a mask's grey values from here on count as white: repaint


class Opened(NamedTuple):
    """A picture of a request: as a record keeps it, and its pixels."""

    given: InputImage
    pixels: Image.Image

    @property
    def name(self) -> str:
        """The picture's name in errors."""
        return self.given.path or "the picture that was given"


def open_image(given: InputImage | None, option: str, *, grey: bool = False) -> Opened | None:
    """The picture in RGB, or `grey`; errors call it by its file.

    RequestError for a picture that was not a file and is not given again, or that has changed since it was recorded.
    """
    if given is None:
        return None
    data = given.data
    if data is None and given.path is None:
        raise RequestError(
            f"the {option} was not a file; it is not in the record and must be given again with --{option}"
        )
    data = inputs.read(Path(given.path or "")) if data is None else data
    digest = sha256(data).hexdigest()
    if given.sha256 not in (None, digest):
        raise RequestError(
            f"the {option} {given.path} has changed since it was recorded: its sha256 is {digest[:10]}, not "
            f"{(given.sha256 or '')[:10]}"
        )
    name = given.path or f"the {option} that was given"
    pixels = (inputs.greys if grey else inputs.colours)(data, name)
    return Opened(given.model_copy(update={"data": data, "sha256": digest}), pixels)


def sides(asked: Drawing, image: Opened | None, default: tuple[int, int], multiple: int) -> tuple[int, int]:
    """The width and height of a request: its own, else those of its picture, rounded, else the model's.

    RequestError for a side that is not a multiple of `multiple`, or is too long.
    """
    width, height = asked.width, asked.height
    if image is None:
        width, height = width or default[0], height or default[1]
    else:
        own = image.pixels
        scale = width / own.width if width else height / own.height if height else 1.0
        width, height = (
            side or max(1, round(scale * length / multiple)) * multiple
            for side, length in ((width, own.width), (height, own.height))
        )
        if max(width, height) > LONGEST_SIDE:
            raise RequestError(
                f"the picture has {own.width} x {own.height} pixels; no side may be over {LONGEST_SIDE}: give a size"
            )
    for name, side in (("width", width), ("height", height)):
        if side % multiple:
            low = side // multiple * multiple
            near = " or ".join(str(one) for one in (low, low + multiple) if one)
            raise RequestError(f"{name} {side} is not a multiple of {multiple}; use {near}", option=name)
    return width, height


def fitted(image: Image.Image, size: tuple[int, int], fit: str, how: Image.Resampling) -> Image.Image:
    """Crop or stretch a picture to the size."""
    if image.size == size:
        return image
    return image.resize(size, how) if fit == "stretch" else ImageOps.fit(image, size, how)


def mask_of(mask: Opened, image: Opened, size: tuple[int, int], fit: str) -> Image.Image:
    """The mask, fitted as its picture is: 255 where to repaint, else 0.

    RequestError for a mask without a white pixel.
    """
    nearest = Image.Resampling.NEAREST
    grey, own = mask.pixels, image.pixels.size
    over = grey if grey.size == own else grey.resize(own, nearest)
    white = fitted(over, size, fit, nearest).point(lambda value: 255 * (value >= _WHITE))
    if white.getbbox() is None:
        raise RequestError(
            f"{mask.given.path or 'the mask that was given'} has no white pixel, so there is nothing to repaint"
        )
    return white


def as_tensor(image: Image.Image) -> Tensor:
    """The numbers (1, C, H, W) of a picture, float32 from 0 to 255."""
    values = np.array(image, dtype=np.float32)
    return torch.from_numpy(values).reshape(1, image.height, image.width, -1).movedim(-1, 1).contiguous()
