"""The pictures that a request gives: read once, held to what was recorded of them, and brought to its size."""

from hashlib import sha256
from pathlib import Path

from PIL import Image, ImageOps

from scorefield.files import given
from scorefield.files.crop import middle
from scorefield.files.picture import PictureError
from scorefield.request import LONGEST_SIDE, Given, Request, RequestError, Settled
from scorefield.zoo import ModelSpec

_WHITE = 128  # the grey from which on a mask says to paint anew


def read(asked: Given | None, what: str) -> Given | None:
    """A given picture with its data and their sha256; RequestError if it is not there or not the one that was meant."""
    if asked is None:
        return None
    data = asked.data or _data(asked, what)
    digest = sha256(data).hexdigest()
    if asked.sha256 not in (None, digest):
        told = f"its sha256 is {digest[:10]}, not {str(asked.sha256)[:10]}"
        raise RequestError(f"the {what} {asked.path} is another one than was recorded: {told}")
    return asked.model_copy(update={"data": data, "sha256": digest})


def pictures(request: Request) -> dict[str, Given | None]:
    """The pictures of a request by field, each read."""
    return {
        "image": read(request.image, "image"),
        "mask": read(request.mask, "mask"),
        "image_prompt": read(request.image_prompt, "image-prompt"),
    }


def _data(asked: Given, what: str) -> bytes:
    if asked.path is None:
        raise RequestError(f"the {what} was not a file; it is not in the record and must be given again with --{what}")
    try:
        return given.read(Path(asked.path))
    except PictureError as error:
        raise RequestError(str(error)) from None


def sides(request: Request, spec: ModelSpec) -> tuple[int, int]:
    """Width and height: what is asked for, else as the picture's own are, else as the model's own are."""
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
    """The picture to start from, RGB, in the size of the request."""
    return None if request.image is None else _fitted(_picture(request.image), request, Image.Resampling.LANCZOS)


def prompt(request: Settled, spec: ModelSpec) -> Image.Image | None:
    """What the model is shown as an image prompt, RGB; RequestError for one that it cannot read, or does not get."""
    side = spec.image_prompt
    if side is None and request.image_prompt is not None:
        raise RequestError(f"the model {spec.name} reads no image prompt; give the picture as --image to start from it")
    if side is None or request.image_prompt is None:
        if side is not None:
            raise RequestError(f"the model {spec.name} draws after a picture; give it one with --image-prompt")
        return None
    return middle(_picture(request.image_prompt), side)


def mask(request: Settled) -> Image.Image | None:
    """255 where the picture is painted anew, else 0, in the size of the request; RequestError if it is 0 everywhere."""
    if request.image is None or request.mask is None:
        return None
    size = _picture(request.image).size
    try:
        grey = given.greys(request.mask.data or b"", _name(request.mask, "mask"))
    except PictureError as error:
        raise RequestError(str(error)) from None
    nearest = Image.Resampling.NEAREST
    fitted = _fitted(grey if grey.size == size else grey.resize(size, nearest), request, nearest)
    white = fitted.point(lambda value: 255 * (value >= _WHITE))
    if white.getbbox() is None:
        raise RequestError(f"{_name(request.mask, 'mask')} is white nowhere, so there is nothing to paint anew")
    return white


def pasted(images: list[Image.Image], request: Settled) -> list[Image.Image]:
    """`images` with the pixels that the mask keeps as they were, unless the request does without."""
    kept, white = picture(request), mask(request)
    if kept is None or white is None or not request.paste:
        return images
    return [Image.composite(image, kept, white) for image in images]


def _picture(asked: Given) -> Image.Image:
    try:
        return given.colours(asked.data or b"", _name(asked, "image"))
    except PictureError as error:
        raise RequestError(str(error)) from None


def _name(asked: Given, what: str) -> str:
    return asked.path or f"the {what} that was given"


def _fitted(image: Image.Image, request: Settled, how: Image.Resampling) -> Image.Image:
    size = (request.width, request.height)
    if image.size == size:
        return image
    return image.resize(size, how) if request.fit == "stretch" else ImageOps.fit(image, size, how)
