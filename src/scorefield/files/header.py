"""What a safetensors file holds, from its header alone: nothing is loaded and nothing in the file can run."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

_LARGEST_HEADER = 100_000_000  # bytes, the format's own limit


class HeaderError(ValueError):
    """A file that is not a whole safetensors file."""


class TensorInfo(NamedTuple):
    """One tensor of a file."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)


class Header(NamedTuple):
    """A file's metadata (JSON values decoded) and its tensors by name."""

    metadata: dict[str, object]
    tensors: dict[str, TensorInfo]


def read_header(path: Path) -> Header:
    """The header of a safetensors file; HeaderError if it is damaged or truncated, OSError if unreadable."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or not 2 <= length <= min(_LARGEST_HEADER, size - 8):
            raise HeaderError(f"{path} is not a whole safetensors file: its header is cut off or damaged")
        raw = stream.read(length)
    try:
        entries = json.loads(raw)
        metadata = {name: _json(value) for name, value in entries.pop("__metadata__", {}).items()}
        tensors = {name: TensorInfo(str(entry["dtype"]), _shape(entry["shape"])) for name, entry in entries.items()}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise HeaderError(f"{path} is not a safetensors file: its header is not what the format asks for") from None
    if size < 8 + length + end:
        raise HeaderError(f"{path} is truncated: it has {size} bytes of {8 + length + end}; fetch it again")
    return Header(metadata, tensors)


def _shape(sides: Sequence[object]) -> tuple[int, ...]:
    if not all(isinstance(side, int) and side >= 0 for side in sides):
        raise ValueError("a shape is of whole numbers")
    return cast(tuple[int, ...], tuple(sides))


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, TypeError, RecursionError):
        return text
