"""Open picture files safely: seven formats by their first bytes, size limits, and no output from libraries."""

import ctypes
import io
import logging
import os
import re
import stat
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from scorefield.errors import DamagedError, MissingError

MOST_BYTES = 2**28
MOST_PIXELS = 2**26
_MOST_READS = 2**20  # reads of one file: a picture of MOST_PIXELS needs fewer

# Other formats are never opened, whatever a file's name: for an EPS, Pillow would start Ghostscript.
_FORMATS: dict[str, tuple[tuple[bytes, ...], Callable[..., ImageFile.ImageFile]]] = {
    "PNG": ((b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    "JPEG": ((b"\xff\xd8\xff",), JpegImagePlugin.jpeg_factory),
    "WEBP": ((b"RIFF",), WebPImagePlugin.WebPImageFile),
    "GIF": ((b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    "BMP": ((b"BM",), BmpImagePlugin.BmpImageFile),
    "TIFF": ((b"II*\0", b"II\0*", b"MM\0*", b"MM*\0", b"II+\0", b"MM\0+"), TiffImagePlugin.TiffImageFile),
    "PPM": ((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"), PpmImagePlugin.PpmImageFile),
}
FORMATS = tuple(_FORMATS)
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")

# Exceptions of Pillow for damaged files: each was observed, or is caught by Pillow itself elsewhere.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError, AttributeError,
           EOFError, NotImplementedError, struct.error, zlib.error)  # fmt: skip


class PictureError(DamagedError, ValueError):
    """A picture that cannot be read, or that lacks the record asked for."""


class NoPictureError(PictureError):
    """A file that is not a picture in any format read here."""


class _TooManyPartsError(PictureError):
    """A file with more parts than any picture of MOST_PIXELS has."""


class _Counted:
    """Refuse a file that is read in millions of parts, which takes Pillow minutes."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > _MOST_READS:
            raise _TooManyPartsError
        return super().read(size)  # type: ignore[misc,no-any-return]


class _CountedBytes(_Counted, io.BytesIO):
    """A file in memory."""


class _CountedFile(_Counted, io.BufferedReader):
    """A file on disk."""


@contextmanager
def open_file(path: Path) -> Iterator[IO[bytes]]:
    """Open the picture file at `path`; PictureError for a folder, a pipe, a device, or more than MOST_BYTES."""
    with _CountedFile(io.FileIO(_open_regular(path))) as file:
        if (size := os.fstat(file.fileno()).st_size) > MOST_BYTES:
            raise PictureError(f"{path} has {size} bytes; a picture may have at most {MOST_BYTES}")
        yield file


def open_bytes(data: bytes) -> IO[bytes]:
    """A picture's bytes as a file."""
    return _CountedBytes(data)


def open_picture(file: IO[bytes] | bytes, name: str) -> ImageFile.ImageFile:
    """Read the header of a picture, without decoding pixels; PictureError calls it `name`.

    Any size is accepted: see check_size. Call it within `reading`.
    """
    stream = open_bytes(file) if isinstance(file, bytes) else file
    start = stream.read(12)
    stream.seek(0)
    for form, (magics, factory) in _FORMATS.items():
        if start.startswith(magics) and (form != "WEBP" or start[8:] == b"WEBP"):
            try:
                return factory(stream, "")
            except SyntaxError as error:  # Pillow's error for an invalid header
                raise NoPictureError(f"{name} is not a readable {form} picture: {error}") from None
    raise NoPictureError(f"{name} is not a picture in a known format ({', '.join(FORMATS)})")


def check_size(image: ImageFile.ImageFile, name: str) -> None:
    """PictureError if a picture has more than MOST_PIXELS, too many to decode."""
    if image.width * image.height > MOST_PIXELS:
        raise PictureError(f"{name} has {image.width} x {image.height} pixels; at most {MOST_PIXELS} are allowed")


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn Pillow's errors for a damaged picture into a PictureError that calls it `name`; keep libraries silent."""
    try:
        with _SILENCE:
            yield
    except _TooManyPartsError:
        raise PictureError(f"{name} has more than {_MOST_READS} parts, too many to read") from None
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError(f"{name} has too many pixels; at most {MOST_PIXELS} are allowed") from None
    except _DAMAGE as error:
        raise PictureError(f"{name} is damaged: {_reason(error)}") from None


def _open_regular(path: Path) -> int:
    kinds = {
        stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device", stat.S_ISBLK: "a device",
    }  # fmt: skip

    def check(mode: int) -> None:
        if not stat.S_ISREG(mode):
            kind = next((kind for test, kind in kinds.items() if test(mode)), "a special file")
            raise PictureError(f"the picture {path} is {kind}, not a picture file")

    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character in the path
        raise MissingError(f"the picture {path} does not exist") from None
    check(mode)  # before opening, since opening a device may have an effect
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        check(os.fstat(handle).st_mode)  # again, since it may have been replaced
    except PictureError:
        os.close(handle)
        raise
    return handle


def _reason(error: BaseException) -> str:
    reason = str(error).partition("\n")[0].strip()
    if isinstance(error, KeyError | IndexError | AttributeError | TypeError | struct.error) or not reason:
        return "its header contradicts itself"  # these errors' texts are about Pillow's code, not about the file
    return reason


class _Silence:
    """Suppress what Pillow and libtiff print about a damaged file, while at least one thread is inside.

    Warnings are filtered by module, so those of other code still show, and another thread's changes of the filters are
    not overwritten.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._handlers: list[tuple[Callable[..., int | None], int | None]] = []
        self._filter = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._begin()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._end()

    def _begin(self) -> None:
        # Not by warnings.filterwarnings, which would make warnings that were shown once show again.
        warnings.filters.insert(0, self._filter)  # type: ignore[attr-defined]
        logger = logging.getLogger("PIL")
        if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            logger.addHandler(logging.NullHandler())  # without any handler, Python prints to stderr
        self._handlers = [(setter, setter(None)) for setter in _libtiff_setters()]

    def _end(self) -> None:
        with suppress(ValueError):  # another thread restored its own list of filters
            warnings.filters.remove(self._filter)  # type: ignore[attr-defined]
        for setter, handler in self._handlers:
            setter(handler)


def _libtiff_setters() -> Sequence[Callable[..., int | None]]:
    """The functions of Pillow's libtiff that set its message handlers; none if Pillow links it differently."""
    try:
        library = ctypes.CDLL(sys.modules["PIL._imaging"].__file__)
        setters = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
    except (OSError, AttributeError):
        return ()
    for setter in setters:
        setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    return setters


_SILENCE = _Silence()
