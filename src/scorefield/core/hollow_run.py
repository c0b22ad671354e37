"""Run torch code without numbers, and count the bytes that it would hold: the memory of a network before it is loaded.

Tensors have shapes, strides and dtypes, and no numbers. They say that they are on the device that is asked about, so
the code takes the way that it takes there. What depends on no hollow tensor (token ids, noise) is computed.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scorefield.core.hollow_calls import Call, Known
from scorefield.core.hollow_rules import META, Layout, rule_of
from scorefield.core.hollow_tensor import Block, Hollow

_ATEN = torch.ops.aten

Extra = Callable[[Any, Sequence[Any]], int]  # an operator and its arguments -> bytes


class HollowRun(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within `with HollowRun(device) as run`, what is computed from tensors on "meta" is hollow.

    `live` is what the code holds now, in bytes, and `peaks` the most that it has held while each watched part was the
    last to run, or "" before the first; parameters are not counted.
    """

    def __init__(self, device: torch.device, extra: Extra | None = None, known: Known | None = None) -> None:
        """`extra` says how many bytes the kernel of an operator takes while it runs, besides its result.

        `known` is what earlier runs found out, on the same device and with the same `extra`.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.device, self.live, self.part = device, 0, ""
        self.peaks = {"": 0}
        self._extra = extra
        self._watched: list[nn.Module] = []
        self._known = Known() if known is None else known

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to be left out by the compiler, this class would import it

    def count(self, size: int) -> None:
        """Count `size` bytes more."""
        self.live += size
        if self.live > self.peaks[self.part]:
            self.peaks[self.part] = self.live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        on_cpu = device is None or device.type == "cpu"
        if on_cpu and not _any_hollow(args) and not (kwargs and _any_hollow(kwargs.values())):
            return func(*args, **kwargs)
        if func in _ANSWERS:
            return _ANSWERS[func](args[0])
        if device is not None:
            kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"} | {"device": META}
        kind = _kind(func)
        if kind == "in place":
            return kwargs.get("out", args[0])
        metas = tuple(map(_meta, args))
        named = {name: _meta(value) for name, value in kwargs.items()} if kwargs else kwargs
        if func is _ATEN._to_copy.default and _only_moves(metas[0], named):
            return Hollow(metas[0], self.device, getattr(args[0], "block", None))
        if kind == "view":
            return self._views(func(*metas, **named), getattr(args[0], "block", None))
        extra = self._extra(func, metas) if self._extra else 0
        self.count(extra)
        out = self._new(func, metas, named)
        self.live -= extra
        return out

    def _views(self, out: Any, block: Block | None) -> Any:
        if isinstance(out, Tensor):
            return Hollow(out, self.device, block)
        return [Hollow(one, self.device, block) for one in out]

    def _new(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """New tensors, as the operator gives them."""
        key = func, _key(args), _key(tuple(kwargs.items()))
        layouts = self._known.layouts
        if key not in layouts:
            if (rule := rule_of(func)) is not None:
                layouts[key] = tuple(rule(func, *args, **kwargs))
            else:
                out = func(*args, **kwargs)
                layouts[key] = tuple(map(Layout.of, out if isinstance(out, tuple | list) else [out]))
        truth = _TRUTHS.get(func.overloadpacket)
        made = [self._filled(one, truth) for one in layouts[key]]
        return made[0] if len(func._schema.returns) == 1 and len(made) == 1 else made

    def _filled(self, layout: Layout, truth: bool | None = None) -> Hollow:
        meta = torch.empty_strided(layout.size, layout.stride, dtype=layout.dtype, device=META)
        return Hollow(meta, self.device, Block(self, meta.untyped_storage().nbytes()), truth)

    def watch(self, part: str, net: nn.Module) -> None:
        """Count for `part` what happens from when a layer of `net` runs until one of another part does.

        A layer runs once for all that are like it and see the same, since some work in thousands of small pieces, and
        films go through them hundreds of times.
        """
        self.peaks[part] = 0
        for layer in filter(_runs, net.modules()):
            layer.forward = Call(self, self._known, part, layer)
            self._watched.append(layer)

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        for layer in self._watched:
            del layer.forward


def _runs(layer: nn.Module) -> bool:
    """Whether a module has weights and a `forward`, which those that only hold others have not."""
    has_forward = type(layer).forward is not nn.Module.forward
    return has_forward and next(layer.parameters(), None) is not None


@cache
def _kind(func: Any) -> str:
    """Whether an operator's result is its first argument, a view of it, or new."""
    alias = func._schema.returns[0].alias_info if func._schema.returns else None
    if alias is not None and alias.is_write:
        return "in place"
    return "view" if alias is not None or func in _SAME_STORAGE else "new"


def _any_hollow(values: Any) -> bool:
    for one in values:
        if isinstance(one, Tensor):
            if isinstance(one, Hollow) or one.is_meta:
                return True
        elif isinstance(one, tuple | list) and _any_hollow(one):
            return True
    return False


def _meta(value: Any) -> Any:
    if isinstance(value, Hollow):
        return value.meta
    if isinstance(value, Tensor):
        same = Layout.of(value)
        return value if value.is_meta else torch.empty_strided(same.size, same.stride, dtype=same.dtype, device=META)
    return type(value)(map(_meta, value)) if isinstance(value, tuple | list) else value


def _key(value: Any) -> object:
    if isinstance(value, Tensor):
        return value.size(), value.stride(), value.dtype
    return tuple(map(_key, value)) if isinstance(value, tuple | list) else value


def _only_moves(tensor: Tensor, named: Mapping[str, Any]) -> bool:
    """Whether a copy only changes the device: what is hollow is on one already."""
    return named.get("dtype") in (None, tensor.dtype) and named.get("memory_format") in (None, torch.preserve_format)


_TRUTHS = {_ATEN.all: True, _ATEN.any: False}
_SAME_STORAGE = {_ATEN._unsafe_view.default, _ATEN.lift_fresh.default, _ATEN.detach.default}


def _truth(tensor: Hollow) -> bool:
    if tensor.truth is None:
        raise RuntimeError("code that runs without numbers asks for one")
    return tensor.truth


# What code asks of numbers: whether all are finite, and whether an earlier answer has changed.
_ANSWERS: Mapping[Any, Callable[..., Any]] = {
    _ATEN._local_scalar_dense.default: _truth,
    _ATEN.is_nonzero.default: _truth,
    _ATEN.equal.default: lambda _: True,
}
