"""Read the size and the comment of an mp4 file from its boxes: nothing is decoded, and PyAV is not needed.

The boxes are those of ISO 14496-12; the comment is where QuickTime and ffmpeg put it, in moov/udta/meta/ilst.
"""

import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

_COMMENT = (b"moov", b"udta", b"meta", b"ilst", b"\xa9cmt", b"data")
_TRACK = (b"moov", b"trak", b"tkhd")
_HEADS = {b"meta": 4, b"data": 8}  # bytes before the content: version and flags, or type and locale
_LONGEST = 2**23  # bytes of a comment to read


class Header(NamedTuple):
    """The size in pixels, and the comment, "" if there is none."""

    size: tuple[int, int]
    comment: str


class _Box(NamedTuple):
    start: int  # of its content
    end: int


def is_mp4(file: IO[bytes]) -> bool:
    """Whether a file begins like mp4; the file is at its start before and afterwards."""
    start = file.read(8)
    file.seek(0)
    return start[4:] == b"ftyp"


def read_header(file: IO[bytes]) -> Header:
    """Read the header of an mp4 file; ValueError or struct.error if it is damaged, for `open_picture.reading`."""
    whole = _Box(0, file.seek(0, 2))
    sizes = [struct.unpack(">II", _content(file, _Box(max(at.start, at.end - 8), at.end)))
             for at in _find(file, whole, _TRACK)]  # fmt: skip
    if not sizes:
        raise ValueError("it has no track")
    width, height = max(sizes)  # a track of sound has none; 16.16 fixed point
    comment = next((_content(file, at) for at in _find(file, whole, _COMMENT)), b"")
    return Header((width >> 16, height >> 16), comment.decode(errors="replace"))


def _find(file: IO[bytes], inside: _Box, path: tuple[bytes, ...]) -> Iterator[_Box]:
    """The boxes at a path of kinds."""
    kind, *rest = path
    for found, box in _boxes(file, inside):
        if found == kind:
            inner = _Box(box.start + _HEADS.get(kind, 0), box.end)
            yield from _find(file, inner, tuple(rest)) if rest else [inner]


def _boxes(file: IO[bytes], inside: _Box) -> Iterator[tuple[bytes, _Box]]:
    start = inside.start
    while start + 8 <= inside.end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,), head = struct.unpack(">Q", file.read(8)), 16
        elif size == 0:  # to the end
            size = inside.end - start
        if not head <= size <= inside.end - start:
            raise ValueError("it is cut off")
        yield kind, _Box(start + head, start + size)
        start += size


def _content(file: IO[bytes], box: _Box) -> bytes:
    file.seek(box.start)
    return file.read(min(max(0, box.end - box.start), _LONGEST))
