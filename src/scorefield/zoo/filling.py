"""Published weights into our networks: every key accounted for, each tensor cast as it is read, all of it hashed."""

import hashlib
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn
from xxhash import xxh3_128

from scorefield.nets.packed import layers, packs
from scorefield.weights.entries import Entry, Form, KeysError, check, views
from scorefield.weights.folder import SourceError
from scorefield.weights.source import Source

_READERS = 4  # threads: while one waits for the disk, the others hash and cast
_PACKERS = 2  # where they pack, too, which keeps them busy, and each holds a tensor besides

M = TypeVar("M", bound=nn.Module)


class _Scratch(threading.local):
    """Room for one tensor, in each thread its own: where many come and go, malloc keeps as much again."""

    held = torch.empty(0)

    def room(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """A tensor of numbers that were another's; the next one will be in the same place."""
        size = math.prod(shape)
        if len(self.held) < size or self.held.dtype != dtype:
            self.held = torch.empty(size, dtype=dtype)
        return self.held[:size].view(shape)


class Filling:
    """Fills networks for one device in one dtype, straight from the file: nothing is held twice.

    The hash is over our names and the numbers in the format that they are stored in, taken while they are read: no file
    is read twice, and a folder and a single file that hold the same tensors have the same hash. It is a tree, so that
    threads share the work: the SHA-256 of a sorted list of lines, one a tensor, each with the XXH3 (128 bits) of its
    numbers in our order. SHA-256 of all of them had been a quarter of the processor's time.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._lines: list[str] = []

    @property
    def sha256(self) -> str:
        """The hash of all that has been read."""
        return hashlib.sha256("\n".join(sorted(self._lines)).encode()).hexdigest()

    def __call__(
        self, build: Callable[[], M], part: str, entries: Sequence[Entry], source: Source, keys: Iterable[str]
    ) -> M:
        """The network of `build` with the weights that `source` has under `keys`; `part` is what an error calls it.

        SourceError for keys or shapes that are not its own. Convolutions lie channels last, or packed as all that can
        be: see `nets.packed`.
        """
        with torch.device("meta"):
            net = build()
        fits(net.state_dict(), part, entries, source, keys)
        net.load_state_dict(self._filled(net, part, entries, source), assign=True)
        return net.eval().requires_grad_(False)

    def _filled(self, net: nn.Module, part: str, entries: Sequence[Entry], source: Source) -> Mapping[str, Tensor]:
        """All tensors of `net` by name."""
        packed = layers(net) if packs(self.device, self.dtype) else {}
        wanted, scratch = net.state_dict(), _Scratch()
        tensors = {name: self._room(tensor.shape) for name, tensor in wanted.items() if name not in packed}

        def filled(entry: Entry) -> str:
            """The line of one tensor of ours, once it is there."""
            numbers, name = xxh3_128(), entry.ours
            if name in packed:
                tensors[name] = scratch.room(wanted[name].shape, self.dtype)
            places = views([entry], tensors)
            for key in entry.theirs:
                if entry.form is Form.TRANSPOSED:  # the bytes of the file are not in our order
                    turned = source.fetch(key).T.contiguous()
                    numbers.update(turned.view(torch.uint8).numpy().data)
                    tensors[name].copy_(turned)
                else:
                    source.copy(key, places[key], numbers.update)
            if name in packed:
                tensors[name] = packed[name].packed(tensors[name])
            stored = ", ".join(sorted({str(source.dtype(key)) for key in entry.theirs}))
            return f"{part}.{name} {stored} {tuple(tensors[name].shape)} {numbers.hexdigest()}"

        pool = ThreadPoolExecutor(_PACKERS if packed else _READERS)
        try:
            in_order = sorted(entries, key=lambda entry: min(map(source.place, entry.theirs)))
            self._lines += pool.map(filled, in_order)
        finally:
            pool.shutdown(cancel_futures=True)
        return tensors

    def _room(self, shape: torch.Size) -> Tensor:
        order = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        return torch.empty(shape, device=self.device, dtype=self.dtype, memory_format=order)


def fits(
    wanted: Mapping[str, Tensor], part: str, entries: Sequence[Entry], source: Source, keys: Iterable[str]
) -> None:
    """Nothing, if `source` has under `keys` just the tensors `wanted`, of their shapes; else a SourceError."""
    try:
        check(entries, keys)
    except KeysError as error:
        raise SourceError(f"{source.listing.path}: the {part}: {error}") from None
    for key, place in views(entries, wanted).items():
        if (shape := source.tensors[key].shape) != tuple(place.shape):
            raise SourceError(
                f"{source.listing.path}: the {part}: {key} is of shape {shape}, where this network has "
                f"{tuple(place.shape)}: it is of another model"
            )
