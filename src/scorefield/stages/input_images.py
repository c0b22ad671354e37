"""The input pictures of a request: read, hashed and decoded once, and fitted to its size."""

import math
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from scorefield.errors import RequestError
from scorefield.files import inputs
from scorefield.model.spec import Like, ModelSpec
from scorefield.request import LONGEST_SIDE, Drawing, InputImage

_WHITE = 128  # a mask's grey values from here on count as white: repaint

_NEEDED = {"image": "a first frame", "last_image": "a last frame", "image_prompt": "an image prompt"}


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


def open_pictures(asked: Drawing, spec: ModelSpec) -> dict[str, Opened]:
    """The pictures of a request by their options; RequestError without one that the model needs."""
    frames, opened = spec.given_frames, {}
    needed = {
        "image": frames is not None and frames.needed,
        "mask": False,
        "last_image": frames is not None and frames.last,
        "image_prompt": spec.image_prompt is not None,
    }
    for name, is_needed in needed.items():
        flag = name.replace("_", "-")
        if (picture := open_image(getattr(asked, name), flag, grey=name == "mask")) is not None:
            opened[name] = picture
        elif is_needed:
            raise RequestError(f"the model {spec.name} needs {_NEEDED[name]} (--{flag})")
    return opened


def sides(
    asked: Drawing, image: Opened | None, default: tuple[int, int], multiple: int, *, keeps_area: bool = False
) -> tuple[int, int]:
    """The width and height of a request: its own, else those of its picture, rounded, else the model's.

    If the model `keeps_area`, the picture decides only the aspect ratio. RequestError for a side that is not a multiple
    of `multiple`, or is too long.
    """
    width, height = asked.width, asked.height
    if image is None:
        width, height = width or default[0], height or default[1]
    elif keeps_area and width is None and height is None:
        width, height = _of_area(image.pixels, default[0] * default[1], multiple)
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


def _of_area(image: Image.Image, area: int, multiple: int) -> tuple[int, int]:
    """The sides of at most `area` px in a picture's aspect ratio, each rounded down, as in Wan's code.

    In whole numbers: Wan's floats make 464 of the 480 rows of a picture of 832 x 480.
    """
    width, height = image.size
    cells = area // multiple**2
    width, height = (multiple * math.isqrt(cells * side // other) for side, other in ((width, height), (height, width)))
    if not 0 < min(width, height) or max(width, height) > LONGEST_SIDE:
        raise RequestError(
            f"the picture has {image.width} x {image.height} pixels, an aspect ratio that no film can have; give a size"
        )
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


def seen_by_encoder(opened: Mapping[str, Opened], spec: ModelSpec) -> Tensor | None:
    """The pictures that an image encoder sees, (P, 3, S, S) in about [0, 1]: an image prompt, or given frames."""
    if (prompt := opened.get("image_prompt")) is not None:
        return as_tensor(inputs.crop_middle(prompt.pixels, spec.image_prompt or 0)) / 255
    if (frames := spec.given_frames) is None or (side := frames.encoder_side) is None:
        return None
    shown = [opened[name].pixels for name in ("image", "last_image") if name in opened]
    return torch.cat([_square(pixels, side, frames.like) for pixels in shown])


def _square(image: Image.Image, side: int, like: Like) -> Tensor:
    """A picture as an image encoder sees it, (1, 3, side, side) in about [0, 1]."""
    if like == "diffusers":
        return as_tensor(inputs.crop_middle(image, side)) / 255
    return resized(as_tensor(image) / 255, (side, side))


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels (1, 3, H, W) resized to a width and a height (bicubic), without a filter."""
    return F.interpolate(pixels, (size[1], size[0]), mode="bicubic", align_corners=False)
