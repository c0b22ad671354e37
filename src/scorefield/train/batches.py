"""Batches that can be taken up at any point, and prepared while the step before is computed."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from torch import Tensor

Batch = dict[str, Tensor]
Item = TypeVar("Item")


def in_order(make: Callable[[range], Batch], size: int) -> Callable[[int], Iterator[Batch]]:
    """samples seen -> batches of the endless data set whose pictures of index range r are `make(r)`."""

    def batches(samples: int) -> Iterator[Batch]:
        while True:
            yield make(range(samples, samples + size))
            samples += size

    return batches


def shuffled(make: Callable[[np.ndarray], Batch], count: int, size: int, seed: int) -> Callable[[int], Iterator[Batch]]:
    """samples seen -> batches of a finite data set of `count`, every epoch in its own order; epochs join seamlessly."""

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


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    pass


def prefetch(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """The same items in the same order, up to `depth` of them made ahead in a thread; its errors rise here."""
    ready: queue.Queue[Item | _Failed | _End] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: Item | _Failed | _End) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(_End())
        except BaseException as error:  # handed over whole: the consumer raises it
            put(_Failed(error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()
