"""Textual inversions inside pictures: A1111 writes one as text into a PNG file."""

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from scorefield.weights.diffusers_folder import SourceError
from scorefield.weights.tensor_index import Plain

_PNG = b"\x89PNG\r\n\x1a\n"
_NAME = b"sd-ti-embedding\0"


def is_png(file: Path) -> bool:
    """Whether a file begins as a PNG file does; False for one that cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(len(_PNG)) == _PNG
    except OSError:
        return False


def read(file: Path) -> tuple[Plain, Tensor]:
    """The word and the vectors that a PNG file carries as text; SourceError if it carries none, or they are damaged.

    Others hide them in the colours of the picture: these are not read.
    """
    held = next((text for text in _texts(file.read_bytes()) if text.startswith(_NAME)), None)
    if held is None:
        raise SourceError(f"{file} is a picture that carries no textual inversion as text (sd-ti-embedding)")
    try:
        told = json.loads(base64.b64decode(held.removeprefix(_NAME), validate=True))
        (found,) = told["string_to_param"].values()
        return told.get("name"), torch.tensor(found["TORCHTENSOR"], dtype=torch.float32)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise SourceError(f"{file} carries a textual inversion that cannot be read ({error}); get it again") from None


def _texts(data: bytes) -> Iterator[bytes]:
    """What stands in the plain text chunks of a PNG file, as far as they are whole."""
    at = len(_PNG)
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        text, checksum = data[at + 8 : at + 8 + size], data[at + 8 + size : at + 12 + size]
        if kind == b"tEXt" and zlib.crc32(kind + text).to_bytes(4) == checksum:
            yield text
        at += size + 12
