"""Calls of a network's layers that were seen before: what they make and hold is known without running them again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol
from weakref import ref

import torch
from torch import Tensor, nn

from scorefield.core.hollow_rules import META, Layout
from scorefield.core.hollow_tensor import Account, Block, Hollow

Store = dict[nn.Module, Tensor]  # what layers keep in an argument from one call to the next
Place = tuple[Store, nn.Module]

_OF_TORCH = frozenset(vars(nn.Module())) | {"forward"}  # what every module has


class _Seen(NamedTuple):
    """What one call of a layer makes."""

    out: Layout
    kept: Sequence[tuple[int, Layout]]  # what it keeps in arguments, by the number of the place
    extra: int  # bytes that it held at most, besides those


@dataclass(slots=True)
class Known:
    """What runs on one device found out, for the runs that follow."""

    layouts: dict[object, tuple[Layout, ...]] = field(default_factory=dict)  # of what an operator makes
    kinds: dict[object, int] = field(default_factory=dict)  # numbers of layers that do the same
    calls: dict[object, _Seen] = field(default_factory=dict)

    def kind(self, layer: nn.Module) -> int:
        """The same number for layers of the same classes, sizes and settings."""
        held = (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
        tensors = tuple((name, _key(one)) for name, one in held)
        settings = tuple((name, one) for name, one in vars(layer).items() if name not in _OF_TORCH and _is_plain(one))
        parts = tuple((name, self.kind(part)) for name, part in layer.named_children())
        return self.kinds.setdefault((type(layer), tensors, settings, parts), len(self.kinds))


class Run(Account, Protocol):
    """The run that a call belongs to."""

    part: str
    peaks: dict[str, int]


class Call:
    """The `forward` of a layer, which runs once for all calls that are alike, of this layer and of those like it.

    Calls are alike by the layouts of their tensors, and of those that an argument keeps for the layer (a stream). A
    call is not remembered if it changes anything else, or if it hands on memory that is not its own.
    """

    def __init__(self, run: Run, known: Known, part: str, layer: nn.Module) -> None:
        self._run, self._known, self._part = run, known, part
        self._layer, self._forward = layer, layer.forward

    @cached_property
    def _kind(self) -> int:
        return self._known.kind(self._layer)

    @cached_property
    def _layers(self) -> Sequence[nn.Module]:
        return [*self._layer.modules()]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        run, part = self._run, self._part
        run.part = part
        given = *args, *kwargs.values()
        # Nothing here may hold what an argument keeps: the layer frees it.
        places = [(store, layer) for store in _stores(given) for layer in self._layers]
        key = self._kind, tuple(kwargs), _key(given), _key(_kept(places))
        if (seen := self._known.calls.get(key)) is not None:
            return self._again(seen, places)
        old = [*map(_weak, _kept(places))]
        blocks = [ref(block) for block in _blocks(_kept(places))]
        start, peak = run.live, run.peaks[part]
        run.peaks[part] = start
        out = self._forward(*args, **kwargs)
        changed = [k for k, one in enumerate(_kept(places)) if one is not old[k]()]
        new = [_kept(places)[k] for k in changed]
        used = {id(one) for one in (*_blocks(given), *(one() for one in blocks))}
        if _are_new([out, *new], used) and _key(given) == key[2]:
            layouts = [Layout.of(one.meta) for one in new]
            extra = max(0, run.peaks[part] - run.live)
            self._known.calls[key] = _Seen(Layout.of(out.meta), [*zip(changed, layouts, strict=True)], extra)
        run.peaks[part] = max(peak, run.peaks[part])
        return out

    def _again(self, seen: _Seen, places: Sequence[Place]) -> Tensor:
        for k, layout in seen.kept:
            store, layer = places[k]
            store[layer] = _hollow(layout)
        out = _hollow(seen.out)
        self._run.count(seen.extra)
        self._run.live -= seen.extra
        return out


def _kept(places: Sequence[Place]) -> list[Any]:
    return [store.get(layer) for store, layer in places]


def _weak(value: Any) -> Callable[[], Any]:
    return (lambda: None) if value is None else ref(value)


def _hollow(layout: Layout) -> Tensor:
    """A new tensor; it is called within a run, so it is hollow."""
    return torch.empty_strided(layout.size, layout.stride, dtype=layout.dtype, device=META)


def _stores(values: Any) -> Iterator[Store]:
    for one in values:
        if is_dataclass(one):
            yield from (value for each in fields(one) if isinstance(value := getattr(one, each.name), dict))


def _is_plain(value: object) -> bool:
    """Whether a value can be compared by a hash, and is not a tensor, whose numbers make no difference."""
    try:
        hash(value)
    except TypeError:
        return False
    return not isinstance(value, Tensor)


def _key(value: Any) -> object:
    """What is the same for values that make no difference to memory."""
    if isinstance(value, Tensor):
        return value.size(), value.stride(), value.dtype, isinstance(value, Hollow)
    if isinstance(value, tuple | list):
        return type(value), *map(_key, value)
    if isinstance(value, dict):
        return None  # of which only what is kept for a layer counts
    if is_dataclass(value):
        return type(value), *(_key(getattr(value, one.name)) for one in fields(value))
    return value


def _blocks(value: Any) -> Iterator[Block]:
    """The memory of all tensors in a value."""
    if isinstance(value, Hollow):
        if value.block is not None:
            yield value.block
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _blocks(one)
    elif is_dataclass(value):
        for each in fields(value):
            yield from _blocks(getattr(value, each.name))


def _are_new(made: Sequence[Any], used: set[int]) -> bool:
    """Whether each of the tensors has memory of its own, and no more than it needs; `used` are ids of other blocks."""
    for one in made:
        if not isinstance(one, Hollow) or one.block is None or id(one.block) in used:
            return False
        if one.block.size != _needed(one.meta):
            return False
        used.add(id(one.block))
    return True


def _needed(x: Tensor) -> int:
    """Bytes from the first to the last number of a tensor."""
    if not x.numel():
        return 0
    return x.element_size() * (1 + sum((side - 1) * stride for side, stride in zip(x.shape, x.stride(), strict=True)))
