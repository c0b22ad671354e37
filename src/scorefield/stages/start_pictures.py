"""The pictures of a request, opened once: what a walk starts from, and what an image encoder sees."""

from collections.abc import Mapping

import torch
from PIL import Image
from torch import Tensor

from scorefield.errors import RequestError
from scorefield.files.inputs import crop_middle
from scorefield.model.codec import Canvas
from scorefield.model.spec import ModelSpec
from scorefield.request import Drawing
from scorefield.stages import given_frames
from scorefield.stages.init_state import Start, StartImages
from scorefield.stages.input_images import Opened, as_tensor, fitted, mask_of, open_image

_WITHOUT = {  # what a model does that needs the picture of an option
    "image": "begins a film with a picture",
    "last_image": "ends a film with a picture",
    "image_prompt": "draws after a picture",
}


def open_pictures(asked: Drawing, spec: ModelSpec) -> dict[str, Opened]:
    """The pictures of a request by their options; RequestError without one that the model needs."""
    frames, opened = spec.given_frames, {}
    needed = {
        "image": frames is not None,
        "mask": False,
        "last_image": frames is not None and frames.last,
        "image_prompt": spec.image_prompt is not None,
    }
    for name, is_needed in needed.items():
        flag = name.replace("_", "-")
        if (picture := open_image(getattr(asked, name), flag, grey=name == "mask")) is not None:
            opened[name] = picture
        elif is_needed:
            raise RequestError(f"the model {spec.name} {_WITHOUT[name]}; give it one with --{flag}")
    return opened


def start_of(
    asked: Drawing, spec: ModelSpec, opened: Mapping[str, Opened], canvas: Canvas, strength: float | None
) -> Start:
    """The start of a walk from the opened pictures."""
    image, mask, size = opened.get("image"), opened.get("mask"), (canvas.width, canvas.height)
    if image is None:
        return StartImages(tile=asked.tile, inpaints=spec.inpaints)
    if spec.given_frames is not None:
        like, grid = spec.given_frames.like, spec.size_multiple
        return given_frames.start(asked, image, opened.get("last_image"), canvas, like=like, grid=grid)
    return StartImages(
        image=fitted(image.pixels, size, asked.fit, Image.Resampling.LANCZOS),
        mask=None if mask is None else mask_of(mask, image, size, asked.fit),
        strength=strength,
        paste=asked.paste,
        tile=asked.tile,
        inpaints=spec.inpaints,
    )


def seen_by_encoder(opened: Mapping[str, Opened], spec: ModelSpec) -> Tensor | None:
    """What an image encoder sees, (P, 3, S, S) in about [0, 1]: an image prompt, or a film's frames; None without."""
    if (prompt := opened.get("image_prompt")) is not None:
        return as_tensor(crop_middle(prompt.pixels, spec.image_prompt or 0)) / 255
    if (frames := spec.given_frames) is None or (side := frames.encoder_side) is None:
        return None
    shown = [opened[name].pixels for name in ("image", "last_image") if name in opened]
    return torch.cat([given_frames.square(pixels, side, frames.like) for pixels in shown])
