"""Where a tensor is in a safetensors file, and how it is read from there in blocks."""

import json
import math
from collections.abc import Callable, Mapping
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.weights.diffusers_folder import SourceError

_BLOCK = 8 << 20  # bytes that are read and copied at once, by each thread: more is not faster


class Span(NamedTuple):
    """The place of one tensor, in bytes from the `start` of its file, and its shape."""

    start: int
    shape: tuple[int, ...]

    def copy(self, file: Path, target: Tensor, stored: torch.dtype, seen: Callable[[memoryview], None]) -> None:
        """Fill `target` from the file, where the numbers have the dtype `stored`; `seen` is called with each block."""
        shape = self.shape or (1,)
        row = stored.itemsize * math.prod(shape[1:])
        rows = max(1, _BLOCK // max(row, 1))
        buffer = torch.empty(min(rows, shape[0]) * row, dtype=torch.uint8)
        with file.open("rb", buffering=0) as stream:
            stream.seek(self.start)
            for first in range(0, shape[0], rows):
                count = min(rows, shape[0] - first)
                part = buffer[: count * row]
                numbers = part.numpy().data
                _read(stream, numbers, file)
                seen(numbers)
                target.reshape(shape)[first : first + count].copy_(part.view(stored).view(count, *shape[1:]))


def spans(file: Path) -> Mapping[str, Span]:
    """The span of every tensor of a file whose header has been checked: see `listing.read`."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    return {
        key: Span(8 + length + one["data_offsets"][0], tuple(one["shape"]))
        for key, one in header.items()
        if key != "__metadata__"
    }


def _read(stream: FileIO, into: memoryview, file: Path) -> None:
    done = 0
    while done < len(into):
        count = stream.readinto(into[done:])
        if not count:
            raise SourceError(f"{file} was cut off while it was read; get it again")
        done += count
