"""A bank of arrays on disk: made once, read ever after; what encoders give for a finite data set."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float16]
Indices = NDArray[np.int64]


class Bank:
    """`count` rows of `shape` in float16, each made by `make` when it is first asked for.

    Rows are a pure function of their index, so a bank may be thrown away or shared at any time. One writer at a time.
    """

    def __init__(self, path: Path, count: int, shape: Sequence[int], make: Callable[[Indices], Rows]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole, size = (count, *shape), count * (2 * int(np.prod(shape)) + 1)
        fresh = not path.exists() or path.stat().st_size != size
        if fresh:
            with path.open("wb") as file:
                file.truncate(size)  # sparse: the disk fills as rows are made
        self._there = np.memmap(path, np.uint8, "r+", shape=(count,))
        self._rows = np.memmap(path, np.float16, "r+", offset=count, shape=whole)
        self._make = make

    def __getitem__(self, indices: Indices) -> Rows:
        """Rows (n, *shape) float16; those not there yet are made in one call of `make` and kept."""
        missing = indices[self._there[indices] == 0]
        if len(missing):
            self._rows[missing] = self._make(missing)
            self._there[missing] = 1  # after the row, so that a kill in between costs the row and nothing else
        return np.array(self._rows[indices])
