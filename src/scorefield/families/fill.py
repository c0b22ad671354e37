"""Published weights into our networks: every key is accounted for, each tensor is cast and hashed as it is read.

A network is built on the device "meta", where it has names and shapes and no numbers, and filled from its file.
"""

import hashlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from xxhash import xxh3_128

from scorefield.errors import DamagedError
from scorefield.model.system import Place
from scorefield.nets.packed import layers, packs
from scorefield.weights.checkpoint import Reader
from scorefield.weights.key_map import Entry, Form, KeysError, check, same_numbers, views

_READERS = 4  # threads: while one waits for the disk, the others hash and cast
_PACKERS = 2  # threads where they also pack: then they rarely wait, and each holds one more tensor
# Parts that the hash calls otherwise: a record of any age has to find its model again.
_HASHED = {
    "text encoder": "text tower", "second text encoder": "second text tower", "image encoder": "image tower",
}  # fmt: skip

M = TypeVar("M", bound=nn.Module)


class _Undrawn(TorchFunctionMode):
    """Leaves out what `torch.nn.init` does: on "meta" it needs torch's compiler, whose import takes a second."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else given["tensor"]
        return func(*args, **given)


@contextmanager
def hollow() -> Iterator[None]:
    """Within this, what is built of torch's modules has shapes and no numbers."""
    with torch.device("meta"), _Undrawn():
        yield


class _Scratch(threading.local):
    """Memory for one tensor at a time in each thread; freed and allocated for each, it would take twice as much."""

    buffer = torch.empty(0)

    def room(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor; the next call may return the same memory."""
        size = math.prod(shape)
        if len(self.buffer) < size or self.buffer.dtype != dtype:
            self.buffer = torch.empty(size, dtype=dtype)
        return self.buffer[:size].view(shape)


class Filling:
    """Fills networks for one device in one dtype, straight from a file, so that no weight is in memory twice.

    It hashes what it reads, our names and the numbers as they are stored: no file is read twice, and a folder and a
    single file with the same tensors have the same hash. The hash is the SHA-256 of a sorted list of lines, one for
    each tensor with the XXH3 (128 bits) of its numbers, so that threads share the work. (SHA-256 of all numbers took a
    quarter of the processor's time.)
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.networks = torch.device("meta") if place.hollow else place.device  # where they are
        self._lines: list[str] = []

    @property
    def sha256(self) -> str:
        """The hash of all that has been read."""
        return hashlib.sha256("\n".join(sorted(self._lines)).encode()).hexdigest()

    def add_to_hash(self, line: str) -> None:
        """Add a setting that changes pictures and that no tensor holds."""
        self._lines.append(line)

    def __call__(
        self, build: Callable[[], M], part: str, entries: Sequence[Entry], source: Reader, keys: Iterable[str]
    ) -> M:
        """The network that `build` makes, with the weights that `source` has under `keys`; errors call it `part`.

        Convolutions are channels last in memory; layers that can be packed are (`nets.packed`). DamagedError for keys
        or shapes that are not those of the network. On a hollow place nothing is read, since nothing would be kept.
        """
        with hollow():
            net = build()
        fits(net.state_dict(), part, entries, source, keys)
        if self.place.hollow:
            net.to(self.place.dtype)
        else:
            net.load_state_dict(self._filled(net, part, entries, source), assign=True)
        return net.eval().requires_grad_(False)

    def _filled(self, net: nn.Module, part: str, entries: Sequence[Entry], source: Reader) -> Mapping[str, Tensor]:
        """All tensors of `net` by name."""
        packed = layers(net) if packs(self.place.device, self.place.dtype) else {}
        wanted, scratch, hashed = net.state_dict(), _Scratch(), _HASHED.get(part, part)
        tensors = {name: self._room(tensor.shape) for name, tensor in wanted.items() if name not in packed}

        def filled(entry: Entry) -> str:
            """Fill one tensor of ours; returns its line of the hash."""
            numbers, name = xxh3_128(), entry.ours
            if name in packed:
                tensors[name] = scratch.room(wanted[name].shape, self.place.dtype)
            places = views([entry], tensors)
            for key in entry.theirs:
                if entry.form is Form.TRANSPOSED:  # hashed in our order, which is not that of the file
                    transposed = source.fetch(key).reshape(places[key].shape).T.contiguous()
                    numbers.update(transposed.view(torch.uint8).numpy().data)
                    tensors[name].copy_(transposed)
                else:
                    source.copy(key, places[key], numbers.update)
            if name in packed:
                tensors[name] = packed[name].packed(tensors[name])
            stored = ", ".join(sorted({str(source.dtype(key)) for key in entry.theirs}))
            return f"{hashed}.{name} {stored} {tuple(tensors[name].shape)} {numbers.hexdigest()}"

        pool = ThreadPoolExecutor(_PACKERS if packed else _READERS)
        try:
            in_order = sorted(entries, key=lambda entry: min(map(source.place, entry.theirs)))
            self._lines += pool.map(filled, in_order)
        finally:
            pool.shutdown(cancel_futures=True)
        return tensors

    def _room(self, shape: torch.Size) -> Tensor:
        order = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        return torch.empty(shape, device=self.place.device, dtype=self.place.dtype, memory_format=order)


def fits(
    wanted: Mapping[str, Tensor], part: str, entries: Sequence[Entry], source: Reader, keys: Iterable[str]
) -> None:
    """DamagedError unless what `source` has under `keys` are the tensors `wanted`, in their shapes, and no others."""
    try:
        check(entries, keys)
    except KeysError as error:
        raise DamagedError(f"{source.index.path}: the {part}: {error}") from None
    for key, place in views(entries, wanted).items():
        if not same_numbers(shape := source.tensors[key].shape, place.shape):
            raise DamagedError(
                f"{source.index.path}: the {part}: {key} is of shape {shape}, where this network has "
                f"{tuple(place.shape)}: the file belongs to another model"
            )
