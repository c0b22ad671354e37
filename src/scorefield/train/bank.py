"""A bank of arrays on disk: the outputs of an encoder for a finite data set, computed once and then read."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float16]
Indices = NDArray[np.int64]


class Bank:
    """`count` rows of `shape` in float16, each computed by `make` when it is first asked for.

    A row depends on its index alone, so a bank may be deleted or shared at any time. Only one process at a time may
    write to it.
    """

    def __init__(self, path: Path, count: int, shape: Sequence[int], make: Callable[[Indices], Rows]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole, size = (count, *shape), count * (2 * int(np.prod(shape)) + 1)
        fresh = not path.exists() or path.stat().st_size != size
        if fresh:
            with path.open("wb") as file:
                file.truncate(size)  # a sparse file: it takes disk space only as rows are computed
        self._there = np.memmap(path, np.uint8, "r+", shape=(count,))
        self._rows = np.memmap(path, np.float16, "r+", offset=count, shape=whole)
        self._make = make

    def __getitem__(self, indices: Indices) -> Rows:
        """Rows (n, *shape) float16; those that are missing are computed in one call of `make` and kept."""
        missing = indices[self._there[indices] == 0]
        if len(missing):
            self._rows[missing] = self._make(missing)
            self._there[missing] = 1  # after the row, so that a kill in between costs no more than the row
        return np.array(self._rows[indices])
