"""The pictures that a request gives: read once, compared with what was recorded of them, and brought to its size."""

from hashlib import sha256
from pathlib import Path

from PIL import Image, ImageOps

from scorefield.errors import RequestError
from scorefield.files import inputs
from scorefield.files.open_picture import PictureError
from scorefield.request import LONGEST_SIDE, Given, Request, Settled
from scorefield.zoo import ModelSpec

_WHITE = 128  # a mask's grey values from this on count as white: painted anew


def read(picture: Given | None, what: str) -> Given | None:
    """`picture` with its data and their sha256; RequestError if its file is missing or not the one that is meant."""
    if picture is None:
        return None
    data = picture.data or _data(picture, what)
    digest = sha256(data).hexdigest()
    if picture.sha256 not in (None, digest):
        raise RequestError(
            f"the {what} {picture.path} is another one than was recorded: its sha256 is {digest[:10]}, not "
            f"{picture.sha256[:10]}"
        )
    return picture.model_copy(update={"data": data, "sha256": digest})


def pictures(request: Request) -> dict[str, Given | None]:
    """The pictures of a request, each read, by the field that gives it."""
    return {
        "image": read(request.image, "image"),
        "mask": read(request.mask, "mask"),
        "image_prompt": read(request.image_prompt, "image-prompt"),
    }


def _data(picture: Given, what: str) -> bytes:
    if picture.path is None:
        raise RequestError(f"the {what} was not a file; it is not in the record and must be given again with --{what}")
    try:
        return inputs.read(Path(picture.path))
    except PictureError as error:
        raise RequestError(str(error)) from None


def sides(request: Request, spec: ModelSpec) -> tuple[int, int]:
    """The width and height of a request: its own, else those of its picture, rounded, else the model's."""
    width, height = request.width, request.height
    if request.image is None:
        return width or spec.defaults.width, height or spec.defaults.height
    own = _picture(request.image)
    scale = width / own.width if width else height / own.height if height else 1.0
    width, height = (
        side or max(1, round(scale * length / spec.size_multiple)) * spec.size_multiple
        for side, length in ((width, own.width), (height, own.height))
    )
    if max(width, height) > LONGEST_SIDE:
        raise RequestError(
            f"the picture has {own.width} x {own.height} pixels, and {LONGEST_SIDE} is the longest side; say a size"
        )
    return width, height


def picture(request: Settled) -> Image.Image | None:
    """The picture to start from, RGB, in the size of the request; None if it starts from noise."""
    return None if request.image is None else _fitted(_picture(request.image), request, Image.Resampling.LANCZOS)


def prompt(request: Settled, spec: ModelSpec) -> Image.Image | None:
    """The image prompt, RGB, in the size that the model reads; None for a model that reads none.

    RequestError if a model that reads none is given one, or a model that needs one is given none.
    """
    if spec.image_prompt is None:
        if request.image_prompt is None:
            return None
        raise RequestError(f"the model {spec.name} reads no image prompt; give the picture as --image to start from it")
    if request.image_prompt is None:
        raise RequestError(f"the model {spec.name} draws after a picture; give it one with --image-prompt")
    return inputs.crop_middle(_picture(request.image_prompt), spec.image_prompt)


def mask(request: Settled) -> Image.Image | None:
    """The mask in the size of the request: 255 where to paint anew, else 0; None if there is none.

    RequestError for a mask that is white nowhere.
    """
    if request.image is None or request.mask is None:
        return None
    size = _picture(request.image).size
    try:
        grey = inputs.greys(request.mask.data or b"", _name(request.mask, "mask"))
    except PictureError as error:
        raise RequestError(str(error)) from None
    nearest = Image.Resampling.NEAREST
    fitted = _fitted(grey if grey.size == size else grey.resize(size, nearest), request, nearest)
    white = fitted.point(lambda value: 255 * (value >= _WHITE))
    if white.getbbox() is None:
        raise RequestError(f"{_name(request.mask, 'mask')} is white nowhere, so there is nothing to paint anew")
    return white


def pasted(images: list[Image.Image], request: Settled) -> list[Image.Image]:
    """`images` with the pixels outside the mask put back as they were, unless the request says not to paste."""
    kept, white = picture(request), mask(request)
    if kept is None or white is None or not request.paste:
        return images
    return [Image.composite(image, kept, white) for image in images]


def _picture(picture: Given) -> Image.Image:
    try:
        return inputs.colours(picture.data or b"", _name(picture, "image"))
    except PictureError as error:
        raise RequestError(str(error)) from None


def _name(picture: Given, what: str) -> str:
    return picture.path or f"the {what} that was given"


def _fitted(image: Image.Image, request: Settled, how: Image.Resampling) -> Image.Image:
    size = (request.width, request.height)
    if image.size == size:
        return image
    return image.resize(size, how) if request.fit == "stretch" else ImageOps.fit(image, size, how)
