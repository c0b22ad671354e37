"""The layout of what an operator of torch makes, for those whose rule in torch is written in Python.

The first call of such a rule imports torch's compiler, which takes two seconds and 100 MB; so these are here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor

META = torch.device("meta")
_ATEN = torch.ops.aten


class Layout(NamedTuple):
    """The layout of a new tensor."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "Layout":
        return cls(tuple(tensor.size()), tensor.stride(), tensor.dtype)


def rule_of(func: Any) -> Callable[..., Iterator[Layout]] | None:
    """The rule of an operator: its arguments, with tensors on "meta", to the layouts of its results."""
    return _RULES.get(func.overloadpacket) or (_pointwise if torch.Tag.pointwise in func.tags else None)


def _pointwise(func: Any, *args: Any, **kwargs: Any) -> Iterator[Layout]:
    """The shape that the arguments broadcast to, and the dtype that the operator gives over no numbers."""
    tensors = [one for one in args if isinstance(one, Tensor)]
    sides = zip_longest(*(reversed(one.shape) for one in tensors), fillvalue=1)
    size = tuple(next((side for side in row if side != 1), 1) for row in sides)[::-1]
    whole = next((one for one in tensors if one.shape == size), torch.empty(size, device=META))
    yield _in_order(whole, _dtype(func, args, kwargs, 0), kwargs.get("memory_format"))


def _in_order(x: Tensor, dtype: torch.dtype | None = None, order: torch.memory_format | None = None) -> Layout:
    """A dense layout for the shape of `x`, in `order`, or else in that of its strides."""
    dtype = dtype or x.dtype
    if order not in (None, torch.preserve_format):
        return Layout.of(torch.empty(x.shape, dtype=dtype, device=META, memory_format=order))
    strides, step = [0] * x.ndim, 1
    for k in sorted(range(x.ndim), key=lambda k: (x.stride(k), -k)):
        strides[k], step = step, step * max(1, x.shape[k])
    return Layout(tuple(x.shape), tuple(strides), dtype)


def _dtype(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], side: int) -> torch.dtype:
    """The dtype of the operator's result, from tensors whose sides are all `side`."""

    def small(one: Any) -> Any:
        if isinstance(one, Tensor):
            return torch.ones([side] * one.ndim, dtype=one.dtype)
        return [*map(small, one)] if isinstance(one, list) and one and isinstance(one[0], Tensor) else one

    dtype: torch.dtype = func(*map(small, args), **{name: small(one) for name, one in kwargs.items()}).dtype
    return dtype


def _reduced(func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Iterator[Layout]:
    named = {one.name: one.default_value for one in func._schema.arguments if one.has_default_value()}
    named |= dict(zip([one.name for one in func._schema.arguments[1:]], args, strict=False)) | kwargs
    dims = named.get("dim")
    over = {one % x.ndim for one in (range(x.ndim) if dims is None else [dims] if isinstance(dims, int) else dims)}
    kept = [1 if k in over else side for k, side in enumerate(x.shape) if k not in over or named.get("keepdim")]
    yield _contiguous(kept, _dtype(func, (x, *args), kwargs, 1))


def _contiguous(size: Sequence[int], dtype: torch.dtype) -> Layout:
    return Layout.of(torch.empty(tuple(size), dtype=dtype, device=META))


def _layer_norm(func: Any, x: Tensor, shape: Sequence[int], *args: Any) -> Iterator[Layout]:
    rows = [*x.shape[: x.ndim - len(shape)], *[1] * len(shape)]
    yield from (_contiguous(size, x.dtype) for size in (x.shape, rows, rows))


def _group_norm(func: Any, x: Tensor, weight: Any, bias: Any, n: int, c: int, hw: int, groups: int, eps: float) -> Any:
    yield _in_order(x)
    yield from (_contiguous((n, groups), x.dtype) for _ in range(2))


def _joined(func: Any, tensors: Sequence[Tensor], dim: int = 0) -> Iterator[Layout]:
    first, side = tensors[0], sum(one.shape[dim] for one in tensors)
    size = [*first.shape]
    size[dim] = side
    order = torch.contiguous_format
    if first.ndim == 4 and all(one.is_contiguous(memory_format=torch.channels_last) for one in tensors):
        order = torch.channels_last
    dtype = _dtype(func, (tensors,), {}, 0)
    yield Layout.of(torch.empty(size, dtype=dtype, device=META, memory_format=order))


def _embedding(func: Any, weight: Tensor, ids: Tensor, *args: Any) -> Iterator[Layout]:
    yield _contiguous((*ids.shape, weight.shape[1]), weight.dtype)


def _stacked(func: Any, tensors: Sequence[Tensor], dim: int = 0) -> Iterator[Layout]:
    size = [*tensors[0].shape]
    size.insert(dim % (len(size) + 1), len(tensors))
    yield _contiguous(size, tensors[0].dtype)


def _indexed(func: Any, x: Tensor, indices: Sequence[Tensor | None]) -> Iterator[Layout]:
    """Tensors of whole numbers for the first sides, which broadcast; others go by torch's own rule."""
    if any(one is None or one.dtype == torch.bool for one in indices):
        yield Layout.of(func(x, indices))
        return
    places = max((one.shape for one in indices if one is not None), key=len)
    yield _contiguous((*places, *x.shape[len(indices) :]), x.dtype)


def _softmax(func: Any, x: Tensor, *args: Any) -> Iterator[Layout]:
    yield _contiguous(x.shape, x.dtype)


def _like(func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Iterator[Layout]:
    yield _in_order(x)


def _product(func: Any, *args: Any, **kwargs: Any) -> Iterator[Layout]:
    """A product of matrices, which are the last two tensors."""
    first, second = [one for one in args if isinstance(one, Tensor)][-2:]
    yield _contiguous((*first.shape[:-1], second.shape[-1]), first.dtype)


def _convolution(
    func: Any, x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, *others: Any
) -> Iterator[Layout]:
    if others[0]:  # transposed, which no network here is
        yield Layout.of(func(x, weight, bias, stride, padding, dilation, *others))
        return
    given = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sides = [(side + 2 * around - apart * (kernel - 1) - 1) // step + 1 for side, kernel, step, around, apart in given]
    out = torch.empty((len(x), len(weight), *sides), dtype=x.dtype, device=META)
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    if last and (x.is_contiguous(memory_format=last) or weight.is_contiguous(memory_format=last)):
        out = out.contiguous(memory_format=last)
    yield Layout.of(out)


def _grown(func: Any, x: Tensor, size: Any, *args: Any) -> Iterator[Layout]:
    sides = size or [int(side * factor) for side, factor in zip(x.shape[2:], args[0], strict=True)]
    yield Layout.of(_in_shape(x, (*x.shape[:2], *sides)))


def _shuffled(func: Any, x: Tensor, factor: int) -> Iterator[Layout]:
    batch, channels, height, width = x.shape
    yield Layout.of(_in_shape(x, (batch, channels // factor**2, height * factor, width * factor)))


def _in_shape(x: Tensor, size: Sequence[int]) -> Tensor:
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    return torch.empty(tuple(size), dtype=x.dtype, device=META, memory_format=order)


def _attention(func: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Iterator[Layout]:
    """A fused kernel: the heads of a position are adjacent in memory."""
    size = (*q.shape[:-1], v.shape[-1])
    yield Layout.of(torch.empty([size[i] for i in (0, 2, 1, 3)], dtype=q.dtype, device=META).transpose(1, 2))
    yield _contiguous(q.shape[:-1], torch.float32)


_RULES: Mapping[Any, Callable[..., Iterator[Layout]]] = {
    **dict.fromkeys((_ATEN.zeros_like, _ATEN.ones_like, _ATEN.empty_like), _pointwise),
    _ATEN.pixel_shuffle: _shuffled,
    _ATEN.cat: _joined,
    _ATEN.flip: _like,
    _ATEN.roll: _like,
    _ATEN.stack: _stacked,
    _ATEN.index: _indexed,
    _ATEN.embedding: _embedding,
    _ATEN.upsample_nearest2d: _grown,
    _ATEN.convolution: _convolution,
    _ATEN._to_copy: _pointwise,
    _ATEN.native_layer_norm: _layer_norm,
    _ATEN.native_group_norm: _group_norm,
    **dict.fromkeys((_ATEN._softmax, _ATEN._safe_softmax), _softmax),
    **dict.fromkeys((_ATEN.mm, _ATEN.bmm, _ATEN.addmm, _ATEN.baddbmm), _product),
    **dict.fromkeys(
        (_ATEN.mean, _ATEN.sum, _ATEN.all, _ATEN.any, _ATEN.amax, _ATEN.argmax, _ATEN.std, _ATEN.linalg_vector_norm),
        _reduced,
    ),
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
}
