"""Pictures that come in and go out by the OpenAI interface: masks, markup, previews, and files of every format."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image

from scorefield.files import inputs, made_files
from scorefield.files.open_picture import PictureError
from scorefield.notes import collecting
from scorefield.queue.entry import Entry, Made
from scorefield.server.answers import NotFound
from scorefield.server.desk import Desk
from scorefield.server.openai_fields import FORMATS

Format = Literal["png", "jpeg", "webp", "gif"]
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}


def repaint_mask(mask: bytes, image: bytes) -> bytes:
    """Our mask, white where to repaint, of OpenAI's, which is fully transparent there; PictureError if nowhere."""
    opacity = _over(mask, "mask", image).getchannel("A")
    white = opacity.point(lambda value: 255 * (value == 0))
    if white.getbbox() is None:
        raise PictureError("the mask has no fully transparent pixel; make it transparent where to edit")
    return _png(white)


def marked(image: bytes, markup: bytes) -> bytes:
    """A picture with a transparent one drawn over it; PictureError if that hides all of it."""
    over = _over(markup, "markup", image)
    if over.getchannel("A").getextrema() == (255, 255):
        raise PictureError("the markup has no transparent pixel, so it would hide the whole image")
    with collecting():
        ground = inputs.colours(image, "image").convert("RGBA")
    return _png(Image.alpha_composite(ground, over).convert("RGB"))


def preview(image: Image.Image, form: str, compression: int | None) -> str:
    """A preview in base64."""
    stream = BytesIO()
    options = {"quality": quality(compression)} if form in FORMATS else {}
    image.save(stream, FORMATS.get(form, "PNG"), **options)
    return base64.b64encode(stream.getvalue()).decode()


def quality(compression: int | None) -> int:
    """The quality of JPEG and WebP, 1 to 100."""
    return 100 if compression is None else max(1, compression)


def output_bytes(
    desk: Desk, entry: Entry, made: Made, form: str, *, compression: int | None, frames: int, seconds: float
) -> bytes:
    """The file of an output in a format; a gif has so many `frames`, each of so many seconds.

    NotFound if its job did not make such a file.
    """
    path: Path = desk.jobs.path(entry.id, made.file)
    if (path.suffix == ".gif") != (form == "gif") or path.suffix not in (".png", ".gif"):
        raise NotFound(f"this output is not to be had as {form}")
    if form == "gif" and frames != entry.frames:
        return made_files.thinned(path, entry.frames, frames, seconds)
    data = path.read_bytes()
    return made_files.converted(data, FORMATS[form], quality(compression)) if form in FORMATS else data


def _over(data: bytes, name: str, image: bytes) -> Image.Image:
    """A picture with its opacity, which has the size of the image."""
    with collecting():
        over, size = inputs.with_opacity(data, name), inputs.colours(image, "image").size
    if over.size != size:
        raise PictureError(f"the {name} has {over.width} x {over.height} pixels, the image {size[0]} x {size[1]}")
    return over


def _png(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
