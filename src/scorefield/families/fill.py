"""Fill our networks with published weights: every key is accounted for, each tensor is cast and hashed as it is read.

A network is built on the device "meta", where it has names and shapes but no numbers, and filled from its file.
"""

import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from xxhash import xxh3_128

from scorefield.core.presence import OnDemand, mark_late
from scorefield.disk_cache import DiskCache, default_folder
from scorefield.errors import DamagedError
from scorefield.model.part_names import Part
from scorefield.model.system import Place
from scorefield.nets.packed import Conv2d, Linear, layers, packs
from scorefield.prompt.vector_cache import VectorCache
from scorefield.weights.checkpoint import Reader
from scorefield.weights.key_map import Entry, Form, KeysError, check, same_numbers, views

_READERS = 4  # threads: while one waits for the disk, the others hash and cast
_PACKERS = 2  # threads where they also pack: then they rarely wait, and each holds one more tensor
# Parts that the hash calls by another name, so that records of any age find their model again.
_HASHED: dict[Part, str] = {
    Part.TEXT: "text tower", Part.TEXT_2: "second text tower", Part.IMAGE: "image tower",
}  # fmt: skip

M = TypeVar("M", bound=nn.Module)


def _hashed(part: Part) -> str:
    """How the lines of a part's hash begin."""
    return f"{_HASHED.get(part, part)}."


def _digest(lines: Sequence[str]) -> str:
    """The SHA-256 of the lines of a hash, in any order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


class _Undrawn(TorchFunctionMode):
    """Skips `torch.nn.init`: on "meta" it needs torch's compiler, whose import takes a second."""

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
    """Modules that are built within this block have shapes but no numbers."""
    with torch.device("meta"), _Undrawn():
        yield


class Filling:
    """Fills networks for one place, straight from a file, so that no weight is in memory twice.

    It hashes what it reads, our names and the numbers as they are stored: a folder and a single file with the same
    tensors have the same hash. The hash is the SHA-256 of a sorted list of lines, one for each tensor with the XXH3
    (128 bits) of its numbers, so that threads share the work. (SHA-256 of all numbers took a quarter of the processor's
    time.)

    In an offloaded model a network is on demand (`core.presence`): filled for its turns alone, and at first only
    hashed. Where the place has a cache, its hash is remembered, so that this reads it once.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.networks = torch.device("meta") if place.hollow else place.device  # where they are in their turns
        self.on_demand = False  # whether a network is filled when its turn begins
        self._lines: list[str] = []

    @property
    def sha256(self) -> str:
        """The hash of all that has been read."""
        return _digest(self._lines)

    def add_to_hash(self, line: str) -> None:
        """Add a setting that changes pictures and that no tensor holds."""
        self._lines.append(line)

    def __call__(
        self,
        build: Callable[[], M],
        part: Part,
        entries: Sequence[Entry],
        source: Reader,
        keys: Iterable[str],
        *,
        late: bool = False,
    ) -> M:
        """The network that `build` makes, with the weights that `source` has under `keys`.

        Convolutions are channels last in memory; layers that can be packed are (`nets.packed`). A `late` network whose
        hash is remembered is filled when it is first needed, and marked so on a hollow place. DamagedError for keys or
        shapes that are not those of the network. On a hollow place nothing is read, since nothing would be kept, and
        the next call fills that network.
        """
        tried = self.place.tried
        if part in tried:
            net = cast(M, tried.pop(part))
        else:
            with hollow():
                net = build()
            fits(net.state_dict(), part, entries, source, keys)
            net.to(self.place.dtype).eval().requires_grad_(False)
        if self.place.hollow:
            tried[part] = net
            if late and (stored := self._hashes.get(_Weights(net, part, entries, source, self.place).key())):
                self._lines += stored.decode().split("\n")
                mark_late(net)
            return net
        weights = _Weights(net, part, entries, source, self.place)
        self._lines += self._later(net, part, weights) if late or self.place.offload else weights.fill(net)
        return net

    def settled(self, owner: M) -> M:
        """`owner` with its buffers on the place, except for those of its networks, which are filled."""
        for name, buffer in owner.named_buffers(recurse=False):
            setattr(owner, name, buffer.to(self.networks))
        return owner

    def vectors(self, part: Part) -> VectorCache | None:
        """The cache of what a text encoder makes of prompts; None without a cache, or if its hash is not known."""
        place, lines = self.place, [line for line in self._lines if line.startswith(_hashed(part))]
        if not place.cache or not lines:
            return None
        cache = DiskCache(default_folder() / "vectors")
        return VectorCache(cache, _digest(lines), place.device, place.dtype, hollow=place.hollow)

    @cached_property
    def _hashes(self) -> DiskCache:
        """The hashes of networks that were read before."""
        return DiskCache(default_folder() / "hashes" if self.place.cache else None)

    def _later(self, net: nn.Module, part: Part, weights: "_Weights") -> list[str]:
        """Have a network filled when it is needed, as far as its hash is known or it is offloaded; returns the hash."""
        key, offload = weights.key(), self.place.offload
        stored = self._hashes.get(key)
        if stored is None:
            lines = weights.hash() if offload else weights.fill(net)
            self._hashes.put(key, "\n".join(lines).encode())
        else:
            lines = stored.decode().split("\n")
        if stored is not None or offload:
            self.on_demand = True
            OnDemand(net, partial(self._read_again, weights, key, lines), keep=not offload, part=part)
        return lines

    def _read_again(self, weights: "_Weights", key: str, lines: Sequence[str]) -> dict[str, Tensor]:
        """The tensors of a network; DamagedError if they are not those whose hash is known."""
        tensors, found = weights.read()
        weights.source.release()
        if sorted(found) != sorted(lines):
            self._hashes.drop(key)
            raise DamagedError(f"{weights.source.index.path} has changed since it was loaded; load the model again")
        return tensors


class _Scratch(threading.local):
    """Memory for one tensor at a time in each thread; allocating it for each tensor would take twice as much."""

    buffer = torch.empty(0)

    def room(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor; the next call may return the same memory."""
        size = math.prod(shape)
        if len(self.buffer) < size or self.buffer.dtype != dtype:
            self.buffer = torch.empty(size, dtype=dtype)
        return self.buffer[:size].view(shape)


class _Weights:
    """The tensors of `net`, a network on the device "meta", in a file; read as often as they are needed."""

    def __init__(self, net: nn.Module, part: Part, entries: Sequence[Entry], source: Reader, place: Place) -> None:
        self.source = source
        self._entries = sorted(entries, key=lambda entry: min(map(source.place, entry.theirs)))  # as in the file
        self._hollow, self._place = net.state_dict(), place
        self._packed = layers(net) if packs(place.device, place.dtype) else {}
        self._hashed = _hashed(part)

    def fill(self, net: nn.Module) -> list[str]:
        """Fill the network; returns the lines of its hash."""
        tensors, lines = self.read()
        net.load_state_dict(tensors, assign=True)
        return lines

    def read(self) -> tuple[dict[str, Tensor], list[str]]:
        """All tensors by name, on their place, and the lines of their hash."""
        tensors = {name: self._room(one.shape) for name, one in self._hollow.items() if name not in self._packed}
        return tensors, self._filled(tensors, self._packed)

    def hash(self) -> list[str]:
        """The lines of the hash alone: the file is read, and nothing is kept."""
        lines = self._filled(dict(self._hollow), {})
        self.source.release()
        return lines

    def key(self) -> str:
        """What the lines of the hash depend on: names and shapes, and the path, size and time of each file."""
        files = sorted({self.source.tensors[key].file for entry in self._entries for key in entry.theirs})
        stats = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        names = [(one.ours, one.theirs, one.form.name, self._hollow[one.ours].shape) for one in self._entries]
        return json.dumps(["XXH3", self._hashed, stats, names])

    def _filled(self, tensors: dict[str, Tensor], packed: dict[str, Linear | Conv2d]) -> list[str]:
        """Fill the `tensors`, and add those of layers to be `packed`; returns the lines of the hash."""
        scratch = _Scratch()

        def filled(entry: Entry) -> str:
            """Fill one tensor of ours; returns its line of the hash."""
            numbers, name, source = xxh3_128(), entry.ours, self.source
            if name in packed:
                tensors[name] = scratch.room(self._hollow[name].shape, self._place.dtype)
            places = views([entry], tensors)
            for key in entry.theirs:
                if entry.form is Form.TRANSPOSED:  # hashed in our order, not the file's
                    transposed = source.fetch(key).reshape(places[key].shape).T.contiguous()
                    numbers.update(transposed.view(torch.uint8).numpy().data)
                    tensors[name].copy_(transposed)
                else:
                    source.copy(key, places[key], numbers.update)
            if name in packed:
                tensors[name] = packed[name].packed(tensors[name])
            stored = ", ".join(sorted({str(source.dtype(key)) for key in entry.theirs}))
            return f"{self._hashed}{name} {stored} {tuple(tensors[name].shape)} {numbers.hexdigest()}"

        pool = ThreadPoolExecutor(_PACKERS if packed else _READERS)
        try:
            return list(pool.map(filled, self._entries))
        finally:
            pool.shutdown(cancel_futures=True)

    def _room(self, shape: torch.Size) -> Tensor:
        order = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        return torch.empty(shape, device=self._place.device, dtype=self._place.dtype, memory_format=order)


def fits(
    wanted: Mapping[str, Tensor], part: str, entries: Sequence[Entry], source: Reader, keys: Iterable[str]
) -> None:
    """DamagedError unless `source` has, under `keys`, exactly the tensors `wanted`, in their shapes."""
    try:
        check(entries, keys)
    except KeysError as error:
        raise DamagedError(f"{source.index.path}: the {part}: {error}") from None
    for key, place in views(entries, wanted).items():
        if not same_numbers(shape := source.tensors[key].shape, place.shape):
            raise DamagedError(
                f"{source.index.path}: the {part}: {key} has shape {shape}, where this network has "
                f"{tuple(place.shape)}: the file belongs to another model"
            )
