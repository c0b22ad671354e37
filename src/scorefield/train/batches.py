"""Batches of training data: they can start from any sample, and are prepared while the step before is computed."""

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Batch = dict[str, Tensor]
Item = TypeVar("Item")


@dataclass(frozen=True)
class _Batches(Dataset[Batch]):
    make: Callable[[range], Batch]

    def __getitem__(self, indices: range) -> Batch:
        return self.make(indices)


def _ranges(samples: int, size: int) -> Iterator[range]:
    while True:
        yield range(samples, samples + size)
        samples += size


def _quiet(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides what to do
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def in_order(make: Callable[[range], Batch], size: int, workers: int = 0) -> Callable[[int], Iterator[Batch]]:
    """A function from the samples seen so far to the batches that follow, of `size` each, without end.

    `make` computes the batch of a range of indices. With `workers`, so many forked processes do it, in the same order;
    then `make` must not use a global random generator.
    """

    def batches(samples: int) -> Iterator[Batch]:
        if not workers:
            return map(make, _ranges(samples, size))
        return iter(
            DataLoader(
                _Batches(make),
                batch_size=None,
                sampler=_ranges(samples, size),
                num_workers=workers,
                worker_init_fn=_quiet,
                multiprocessing_context="fork",
                generator=torch.Generator(),
            )
        )

    return batches


def shuffled(make: Callable[[np.ndarray], Batch], count: int, size: int, seed: int) -> Callable[[int], Iterator[Batch]]:
    """A function from the samples seen so far to the batches that follow, of a finite data set of `count` samples.

    Every epoch has an order of its own, and a batch may span the end of one and the start of the next.
    """

    def batches(samples: int) -> Iterator[Batch]:
        order: dict[int, np.ndarray] = {}
        while True:
            places = np.arange(samples, samples + size)
            epochs = places // count
            for epoch in set(epochs.tolist()) - set(order):
                order[epoch] = np.random.default_rng([seed, epoch]).permutation(count)
            order = {epoch: kept for epoch, kept in order.items() if epoch >= epochs[0]}
            yield make(np.array([order[e][p] for e, p in zip(epochs.tolist(), (places % count).tolist(), strict=True)]))
            samples += size

    return batches


def prefetch(items: Iterator[Item], depth: int = 2) -> Generator[Item]:
    """The same items in the same order, up to `depth` of them computed ahead in a thread; errors reach the caller."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        ahead = deque(pool.submit(next, items, None) for _ in range(depth))
        while (item := ahead.popleft().result()) is not None:
            ahead.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
