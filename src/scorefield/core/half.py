"""Half precision: what is not finite in it is computed again in float32, for that call and those samples alone."""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

HALVES = (torch.float16, torch.bfloat16)

N = TypeVar("N", bound=nn.Module)
Rows = Tensor | slice  # which samples of a batch


class HalfPrecisionWarning(UserWarning):
    """Numbers were not finite in half precision and have been computed again in float32."""


def dtype_of(net: nn.Module) -> torch.dtype:
    """The dtype that a network runs in."""
    return next(net.parameters()).dtype


def repaired(run: Callable[[N, Rows], Tensor], net: N, tell: Callable[[str], None]) -> Tensor:
    """run(net, all samples), (B, ...); samples that are not finite in half precision come from a float32 copy of `net`.

    The copy is not kept: whoever shares `net` sees nothing of it. `tell` hears which samples and which dtype. What is
    not finite in float32 either is returned as it is.
    """
    out = run(net, slice(None))
    dtype = dtype_of(net)
    if dtype not in HALVES:
        return out
    broken = ~torch.isfinite(out).flatten(1).all(1)
    if not broken.any():
        return out
    samples = ", ".join(map(str, broken.nonzero().flatten().tolist()))
    tell(f"({dtype}) is not finite in sample {samples} of the batch; computed again in float32")
    return out.index_put((broken,), run(in_float32(net), broken).to(out.dtype))


def in_float32(net: N) -> N:
    """A copy of `net` whose floating-point weights are float32; the weights of `net` are not copied besides."""
    weights = {id(one): one.float() for one in net.buffers() if one.is_floating_point()}
    weights |= {  # to_dense: a weight may lie in the order of a CPU's kernels, see nets.packed
        id(one): nn.Parameter(one.to_dense(torch.float32), requires_grad=one.requires_grad) for one in net.parameters()
    }
    return copy.deepcopy(net, weights)
