"""Read again the pictures and films that were made here: as other formats, and frame by frame."""

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from PIL import Image, ImageSequence

from scorefield.files import films, picture
from scorefield.files.video import require_video

_USER_COMMENT, _EXIF = 0x9286, 0x8769
_ASCII = b"ASCII\0\0\0"
_MOST_EXIF = 65_000  # bytes: JPEG has no room for more


def converted(png: bytes, form: Literal["JPEG", "WEBP"], quality: int) -> bytes:
    """A PNG of ours in another format, of quality 1 to 100. Its record becomes EXIF's comment if there is room."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        exif = Image.Exif()
        comment = _ASCII + picture.comment_of(image.info.get(picture.OURS, "null")).encode()
        if form != "JPEG" or len(comment) < _MOST_EXIF:
            exif.get_ifd(_EXIF)[_USER_COMMENT] = comment
        image.convert("RGB").save(stream, form, quality=quality, exif=exif)
    return stream.getvalue()


def frames_of(path: Path, count: int) -> Iterator[Image.Image]:
    """The `count` frames of a film of ours, RGB. GIF and WebP join equal frames, which are told apart by their times.

    MissingExtraError for mp4 without PyAV.
    """
    return _of_mp4(path, count) if path.suffix == ".mp4" else _of_picture(path, count)


def thinned(path: Path, count: int, kept: int, seconds: float) -> bytes:
    """A GIF of ours with `kept` of its `count` frames, evenly spaced, each shown for `seconds`; its record stays."""
    chosen = [round(k * (count - 1) / (kept - 1)) for k in range(kept)]
    frames = list(frames_of(path, count))
    with Image.open(path, formats=["GIF"]) as image:
        comment = image.info.get("comment", b"")
    return films.gif([frames[k] for k in chosen], 1 / seconds, comment)


def _of_mp4(path: Path, count: int) -> Iterator[Image.Image]:
    with require_video().open(str(path)) as container:
        for frame in islice(container.decode(video=0), count):
            yield frame.to_image()


def _of_picture(path: Path, count: int) -> Iterator[Image.Image]:
    shown: list[tuple[Image.Image, float]] = []  # a frame, and the time at which it ends, ms
    with Image.open(path, formats=["GIF", "WEBP"]) as image:
        for frame in ImageSequence.Iterator(image):
            pixels = frame.convert("RGB")
            shown.append((pixels, (shown[-1][1] if shown else 0.0) + frame.info.get("duration", 0)))
    ends = iter(shown)
    pixels, end = next(ends)
    for k in range(count):
        while (k + 0.5) * shown[-1][1] / count > end:
            pixels, end = next(ends)
        yield pixels
