"""A bank of arrays on disk: an encoder's outputs for a finite data set, each computed once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from scorefield.errors import MachineError, RequestError

Rows = NDArray[np.float16]
Indices = NDArray[np.int64]


class Bank:
    """`count` rows of `shape` in float16; `make` computes a row when it is first read.

    The file has a byte for each row, 1 if it is there, else 0, and then the rows. A row depends on its index alone, so
    a bank can be deleted or shared at any time. Only one process at a time may write to it. RequestError for an
    existing file that is not a bank of this size: it is never overwritten.
    """

    def __init__(self, path: Path, count: int, shape: Sequence[int], make: Callable[[Indices], Rows]) -> None:
        row = 2 * int(np.prod(shape))
        if path.exists():
            _check(path, count, row)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(count * (row + 1))  # a sparse file: it takes disk space only as rows are computed
        self._path, self._count, self._row = path, count, row
        self._there = np.memmap(path, np.uint8, "r", shape=(count,))
        self._rows = np.memmap(path, np.float16, "r", offset=count, shape=(count, *shape))
        self._make = make

    def __getitem__(self, indices: Indices) -> Rows:
        """Read rows (n, *shape) float16; missing ones are computed in one call of `make` and kept."""
        missing = indices[self._there[indices] == 0]
        if len(missing):
            self._write(missing, self._make(missing))
        return np.array(self._rows[indices])

    def _write(self, indices: Indices, rows: Rows) -> None:
        # Through the file, not its map, where a full disk raises SIGBUS. Marks come last, so a kill costs only rows.
        try:
            with self._path.open("r+b") as file:
                for index, row in zip(indices.tolist(), rows, strict=True):
                    file.seek(self._count + index * self._row)
                    file.write(row.tobytes())
                file.flush()
                self._mark(file, indices)
        except OSError as error:
            raise MachineError(f"cannot write {self._path} ({error.strerror}); its other rows are kept") from None

    def _mark(self, file: BinaryIO, indices: Indices) -> None:
        for index in indices.tolist():
            file.seek(index)
            file.write(b"\1")


def _check(path: Path, count: int, row: int) -> None:
    """Refuse a file that is not a bank of `count` rows of `row` bytes; an empty file is a new bank."""
    if not path.is_file():
        raise RequestError(f"{path} is not a regular file; give the bank another name (--set bank=FILE)")
    size = path.stat().st_size
    if not size:
        return
    held, rest = divmod(size, row + 1)
    with path.open("rb") as file:
        marks = np.frombuffer(file.read(held), np.uint8)
    if rest or (marks > 1).any():
        raise RequestError(f"{path} is not a bank of this recipe; give the bank another name (--set bank=FILE)")
    if held != count:
        raise RequestError(
            f"{path} is a bank of {held} rows, {int(marks.sum())} of them computed; use it with --set count={held}, "
            "give the bank another name (--set bank=FILE), or delete it"
        )
