"""Pictures with their history inside: writing PNG text chunks, and reading what any picture says about its making."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from scorefield.errors import DamagedError
from scorefield.files import parameters

OURS = "scorefield"  # the chunk of our own record, JSON
_COMFY = ("prompt", "workflow")
_INVOKE = ("invokeai_metadata", "invokeai_workflow", "invokeai_graph")
_EXIF, _USER_COMMENT = 0x8769, 0x9286


class PictureError(DamagedError, ValueError):
    """A file that is not a readable picture, or that lacks the record which was asked for."""


class NoPictureError(PictureError):
    """A file that is no picture at all."""


class History(NamedTuple):
    """What a picture says about its making; each None or empty where it says nothing."""

    format: str
    width: int
    height: int
    ours: dict[str, object] | None
    a1111: parameters.Parameters | None
    comfyui: dict[str, object]
    invokeai: dict[str, object]


def encode(image: Image.Image, text: Mapping[str, str]) -> bytes:
    """PNG bytes of `image` with one text chunk an entry."""
    info = PngImagePlugin.PngInfo()
    for name, value in text.items():
        info.add_text(name, value)
    stream = io.BytesIO()
    image.save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def read(path: Path) -> tuple[Image.Image, History]:
    """The whole picture in RGB and its history; PictureError if it is damaged or no picture, OSError if unreadable."""
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            text = {
                name: value for name, value in image.info.items() if isinstance(name, str) and isinstance(value, str)
            }
            comment = _comment(image)
            if comment and "parameters" not in text:
                text["parameters"] = comment
            return image.convert("RGB"), _history(image, text)
    except UnidentifiedImageError:
        raise NoPictureError(f"{path} is no picture that can be read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureError(f"{path} is damaged: {error}") from None


def _history(image: Image.Image, text: Mapping[str, str]) -> History:
    ours = _json(text[OURS]) if OURS in text else None
    return History(
        format=image.format or "",
        width=image.width,
        height=image.height,
        ours=ours if isinstance(ours, dict) else None,
        a1111=parameters.read(text["parameters"]) if "parameters" in text else None,
        comfyui={name: _json(text[name]) for name in _COMFY if name in text},
        invokeai={name: _json(text[name]) for name in _INVOKE if name in text},
    )


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return text


def _comment(image: Image.Image) -> str:
    # JPEG and WebP have no text chunks: the same text stands in EXIF's UserComment, after 8 bytes naming its coding.
    raw = image.getexif().get_ifd(_EXIF).get(_USER_COMMENT)
    if not isinstance(raw, bytes):
        return ""
    coding, body = raw[:8].rstrip(b"\0"), raw[8:]
    if coding == b"UNICODE":
        return body.decode("utf-16-be", "replace")
    return body.decode("utf-8", "replace").strip("\0") if coding in (b"ASCII", b"") else ""
