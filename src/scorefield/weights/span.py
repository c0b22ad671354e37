"""Where a tensor lies in a safetensors file, and how it is read from there in blocks."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from scorefield.weights.dtypes import DTYPES
from scorefield.weights.folder import SourceError


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes of one tensor, from `start` of its file."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def copy(self, file: Path, target: Tensor, seen: Callable[[memoryview], None], block: int) -> None:
        """Fill `target` by reading whole rows, of about `block` bytes at once; each is `seen` as it is stored."""
        shape = self.shape or (1,)
        row = self.dtype.itemsize * math.prod(shape[1:])
        rows = max(1, block // max(row, 1))
        held = torch.empty(min(rows, shape[0]) * row, dtype=torch.uint8)
        with file.open("rb", buffering=0) as stream:
            stream.seek(self.start)
            for first in range(0, shape[0], rows):
                part = held[: min(rows, shape[0] - first) * row]
                stored = part.numpy().data
                _read(stream, stored, file)
                seen(stored)
                target.reshape(shape)[first : first + rows].copy_(part.view(self.dtype).view(-1, *shape[1:]))


def spans(file: Path) -> Mapping[str, Span]:
    """The span of every tensor of a file whose header has been checked: see `listing.read`."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    return {
        key: Span(8 + length + one["data_offsets"][0], _dtype(one["dtype"], key, file), tuple(one["shape"]))
        for key, one in header.items()
        if key != "__metadata__"
    }


def _dtype(name: str, key: str, file: Path) -> torch.dtype:
    if name not in DTYPES:
        raise SourceError(f"{file} has {key!r} in the number format {name}, which is not read here")
    return DTYPES[name]


def _read(stream: FileIO, into: memoryview, file: Path) -> None:
    done = 0
    while done < len(into):
        count = stream.readinto(into[done:])
        if not count:
            raise SourceError(f"{file} was cut off while it was read; get it again")
        done += count
