"""Number formats while a network runs: half precision repaired in float32, and no outside autocast."""

import copy
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from scorefield.core.presence import Turns
from scorefield.notes import HalfPrecisionWarning, note

HALVES = (torch.float16, torch.bfloat16)
_AUTOCAST = ("cpu", "cuda", "mps")

N = TypeVar("N", bound=nn.Module)
Rows = Tensor | slice  # which samples of a batch
Run = Callable[[N, Rows, torch.dtype], Tensor]  # a network, which samples, the dtype of its inputs -> (B, ...)


def dtype_of(net: nn.Module) -> torch.dtype:
    """The dtype of a network's weights."""
    return next(net.parameters()).dtype


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has bfloat16 arithmetic; on a CPU without, torch emulates it, 10 to 100 times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def no_autocast() -> ExitStack:
    """Switch torch.autocast off for the block, which must not yield: each network here runs in its own dtype."""
    stack = ExitStack()
    for kind in filter(torch.is_autocast_enabled, _AUTOCAST):
        stack.enter_context(torch.autocast(kind, enabled=False))
    return stack


def repaired(run: Run[N], net: N, warn: Callable[[str], None]) -> Tensor:
    """`run` on all samples of a batch, and again in float32 on those that are not finite in half precision.

    The network does not change, so threads may share it. `warn` gets a text that names the samples and the dtype.
    Samples that are not finite in float32 either are returned unchanged.
    """
    dtype = dtype_of(net)
    with no_autocast():
        out = run(net, slice(None), dtype)
        if dtype not in HALVES:
            return out
        broken = ~torch.isfinite(out).flatten(1).all(1)
        if not broken.any():
            return out
        samples = ", ".join(map(str, broken.nonzero().flatten().tolist()))
        warn(f"({dtype}) is not finite in sample {samples} of the batch; computed again in float32")
        return out.index_put((broken,), run(in_float32(net), broken, torch.float32).to(out.dtype))


def run_in_dtype(side: Callable[[N, Tensor], Tensor], net: N, values: Tensor, what: str) -> Tensor:
    """`side(net, values)` in the dtype of `net`, `repaired`; `values` (B, ...) and the result are float32.

    The HalfPrecisionWarning calls the result `what`.
    """

    def run(net: N, rows: Rows, dtype: torch.dtype) -> Tensor:
        return side(net, values[rows].to(dtype)).float()

    turns: Turns | None = getattr(net, "on_demand", None)
    with nullcontext() if turns is None else turns.turn():
        return repaired(run, net, lambda text: note(HalfPrecisionWarning, f"{what} {text}"))


def in_float32(net: N) -> N:
    """A copy of `net` that computes in float32 and shares the weights of `net`.

    Each layer, packed ones included, has float32 weights only while it runs, so the copy takes the memory of one layer.
    The few weights and buffers of modules with children are float32 all the time.
    """
    shared = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    made = copy.deepcopy(net, shared)
    for module in made.modules():
        if next(module.children(), None) is None:
            module.forward = partial(_forward_in_float32, module, module.forward)
        else:
            _set(module, _float32_parameters(module))
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.dtype in HALVES:
                setattr(module, name, buffer.float())
    return made


def _forward_in_float32(layer: nn.Module, forward: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    weights = _float32_parameters(layer)
    kept = {name: getattr(layer, name) for name in weights}
    try:
        _set(layer, weights)
        return forward(*map(_as_float32, args), **{name: _as_float32(value) for name, value in kwargs.items()})
    finally:
        _set(layer, kept)


def _float32_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    return {
        name: nn.Parameter(weight.to_dense(torch.float32), requires_grad=weight.requires_grad)
        for name, weight in module.named_parameters(recurse=False)
        if weight.dtype in HALVES
    }


def _set(module: nn.Module, weights: dict[str, nn.Parameter]) -> None:
    for name, weight in weights.items():
        setattr(module, name, weight)


def _as_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALVES else value
