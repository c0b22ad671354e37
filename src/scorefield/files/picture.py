"""Pictures with their metadata: write PNG, and read the history of any picture or film."""

import io
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from PIL import Image, ImageFile, PngImagePlugin

from scorefield.files import mp4, parameters, user_comment
from scorefield.files.open_picture import check_size, open_bytes, open_file, open_picture, reading

OURS = "scorefield"  # the chunk of our own record, JSON
_COMFY = ("prompt", "workflow")
_INVOKE = ("invokeai_metadata", "invokeai_workflow", "invokeai_graph")
_EXIF, _USER_COMMENT = 0x8769, 0x9286
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt", b"eXIf"}
_MOST_JSON = 2**23  # letters; more stay text
_DEEPEST = 64  # levels of JSON; more stay text


class History(NamedTuple):
    """A picture's or film's records of how it was made; None or empty if it has none."""

    format: str
    width: int
    height: int
    ours: dict[str, object] | None
    a1111: parameters.Parameters | None
    comfyui: dict[str, object]
    invokeai: dict[str, object]


def encode(image: Image.Image, text: Mapping[str, str]) -> bytes:
    """PNG bytes of `image`, with one text chunk for each entry."""
    info = PngImagePlugin.PngInfo()
    for name, value in text.items():
        info.add_text(name, value)
    stream = io.BytesIO()
    image.save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def read_history(path: Path) -> History:
    """Read the records of how a picture or film was made, without decoding pixels; any size is accepted.

    NoPictureError if it is neither, PictureError if its header is damaged, OSError if it cannot be read.
    """
    with open_file(path) as file:
        return _read_history(file, str(path))


def history_of(data: bytes, name: str) -> History:
    """The records in a file's bytes; errors are those of read_history, and call it `name`."""
    return _read_history(open_bytes(data), name)


def read(path: Path) -> tuple[Image.Image, History]:
    """Read the pixels in RGB exactly as stored, without colour management, and the history.

    Errors are those of read_history, and PictureError for more than MOST_PIXELS or damaged pixels.
    """
    history = read_history(path)
    with open_file(path) as file, reading(str(path)), open_picture(file, str(path)) as image:
        check_size(image, str(path))
        return image.convert("RGB"), history


def read_texts(data: bytes, name: str) -> dict[str, str]:
    """The texts of a picture by name, of which `parameters` is AUTOMATIC1111's; PictureError calls it `name`."""
    with reading(name), open_picture(data, name) as image:
        return _texts(image, image.fp or io.BytesIO(data))


def _read_history(file: IO[bytes], name: str) -> History:
    with reading(name):
        if mp4.is_mp4(file):
            header = mp4.read_header(file)
            return _history("MP4", header.size, _texts_of(header.comment))
        with open_picture(file, name) as image:
            return _history(image.format or "", image.size, _texts(image, file))


def _texts(image: ImageFile.ImageFile, file: IO[bytes]) -> dict[str, str]:
    """The texts of a picture by name."""
    texts = {name: value for name, value in image.info.items() if isinstance(name, str) and isinstance(value, str)}
    if isinstance(image, PngImagePlugin.PngImageFile):
        texts |= _texts_behind(image, file)
    if "parameters" not in texts:
        texts |= _texts_of(_comment(image))
    return texts


def comment_of(record: str) -> str:
    """The comment with our record, which is JSON, for formats without named texts."""
    return f'{{"{OURS}": {record}}}'


def _texts_of(comment: str) -> dict[str, str]:
    """The texts in a comment, by name: our record, or else `parameters`."""
    value = json_or_text(comment)
    if isinstance(value, dict) and OURS in value:
        return {OURS: json.dumps(value[OURS])}
    return {"parameters": comment} if comment else {}


def _texts_behind(image: PngImagePlugin.PngImageFile, file: IO[bytes]) -> dict[str, str]:
    """The texts after the pixels of a PNG, which are skipped; its EXIF goes into `image.info`."""
    place = file.tell()
    file.seek(8)
    chunks = PngImagePlugin.PngStream(file)
    for kind, start, length in _chunks(chunks):
        if kind in _TEXT_CHUNKS:
            chunks.call(kind, start, length)
        else:
            file.seek(length, io.SEEK_CUR)
        file.seek(4, io.SEEK_CUR)  # its checksum
    for name, value in chunks.im_info.items():
        image.info.setdefault(name, value)
    file.seek(place)
    return {name: str(value) for name, value in chunks.im_text.items()}


def _chunks(chunks: PngImagePlugin.PngStream) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG up to its end; SyntaxError if the end is missing."""
    while True:
        try:
            kind, start, length = chunks.read()
        except struct.error:
            raise SyntaxError("it is cut off") from None
        if kind == b"IEND":
            return
        yield kind, start, length


def _history(form: str, size: tuple[int, int], text: Mapping[str, str]) -> History:
    ours = json_or_text(text[OURS]) if OURS in text else None
    return History(
        format=form,
        width=size[0],
        height=size[1],
        ours=ours if isinstance(ours, dict) else None,
        a1111=parameters.read(text["parameters"]) if "parameters" in text else None,
        comfyui={name: json_or_text(text[name]) for name in _COMFY if name in text},
        invokeai={name: json_or_text(text[name]) for name in _INVOKE if name in text},
    )


def json_or_text(text: str) -> object:
    """The value of a JSON text, or the text itself if it is not JSON, too long or too deep."""
    if len(text) > _MOST_JSON:
        return text
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if _depth(value) <= _DEEPEST else text


def _depth(value: object) -> int:
    """The depth to which lists and objects are nested."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _comment(image: ImageFile.ImageFile) -> str:
    """The text that formats without text chunks store in EXIF's UserComment, or a GIF in its comment."""
    raw = Image.Image.getexif(image).get_ifd(_EXIF).get(_USER_COMMENT)  # PngImageFile's own would decode the pixels
    if isinstance(raw, bytes):
        return user_comment.decode(raw)
    if isinstance(raw, str):
        return raw
    comment = image.info.get("comment")
    return user_comment.decode(comment) if isinstance(comment, bytes) and image.format == "GIF" else ""
