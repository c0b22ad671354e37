"""Batches of training data: they start at any sample, are split over processes, and are computed ahead."""

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scorefield.errors import RequestError

Batch = dict[str, Tensor]
Item = TypeVar("Item")


class World(NamedTuple):
    """The processes that train together: this one's rank and their number."""

    rank: int = 0
    size: int = 1

    def share(self, start: int, batch: int) -> range:
        """This rank's part of samples start .. start + batch - 1; the ranks' parts in order are the whole batch.

        RequestError if the batch cannot be split evenly.
        """
        if batch % self.size:
            raise RequestError(f"a batch of {batch} cannot be split evenly over {self.size} processes")
        part = batch // self.size
        return range(start + self.rank * part, start + (self.rank + 1) * part)


ALONE = World()


class Batches(Protocol):
    """The endless batches after the first `samples` samples; on several processes, this rank's parts."""

    def __call__(self, samples: int, world: World = ALONE, /) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class _Dataset(Dataset[Batch]):
    make: Callable[[range], Batch]

    def __getitem__(self, indices: range) -> Batch:
        return self.make(indices)


def _ranges(samples: int, size: int, world: World) -> Iterator[range]:
    while True:
        yield world.share(samples, size)
        samples += size


def _ignore_signals(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent handles it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def in_order(make: Callable[[range], Batch], size: int, workers: int = 0) -> Batches:
    """Batches of `size` samples 0, 1, 2, ... of an endless data set, split over the processes.

    `make` computes the batch for a range of indices. With `workers`, that many forked processes call it, in the same
    order; then `make` must not use a global random generator.
    """

    def batches(samples: int, world: World = ALONE, /) -> Iterator[Batch]:
        if not workers:
            return map(make, _ranges(samples, size, world))
        return iter(
            DataLoader(
                _Dataset(make),
                batch_size=None,
                sampler=_ranges(samples, size, world),
                num_workers=workers,
                worker_init_fn=_ignore_signals,
                multiprocessing_context="fork",
                generator=torch.Generator(),
            )
        )

    return batches


def shuffled(make: Callable[[np.ndarray], Batch], count: int, size: int, seed: int) -> Batches:
    """Batches of `size` samples of a finite data set of `count` samples, split over the processes.

    Every epoch has a different order; a batch may span the end of one epoch and the start of the next.
    """

    def batches(samples: int, world: World = ALONE, /) -> Iterator[Batch]:
        order: dict[int, np.ndarray] = {}
        for part in _ranges(samples, size, world):
            places = np.arange(part.start, part.stop)
            epochs = places // count
            for epoch in set(epochs.tolist()) - set(order):
                order[epoch] = np.random.default_rng([seed, epoch]).permutation(count)
            order = {epoch: kept for epoch, kept in order.items() if epoch >= epochs[0]}
            yield make(np.array([order[e][p] for e, p in zip(epochs.tolist(), (places % count).tolist(), strict=True)]))

    return batches


def prefetch(items: Iterator[Item], depth: int = 2) -> Generator[Item]:
    """The same items in the same order, with up to `depth` computed ahead in a thread; errors reach the caller."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        ahead = deque(pool.submit(next, items, None) for _ in range(depth))
        while (item := ahead.popleft().result()) is not None:
            ahead.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
