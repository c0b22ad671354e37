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


def repaired(run: Callable[[N, Rows], Tensor], net: N, warn: Callable[[str], None]) -> Tensor:
    """`run(net, rows)` (B, ...) of all samples; those that are not finite in half precision are run again in float32.

    The second run has a float32 copy of `net`, which is not kept: `net` itself never changes, so threads may share it.
    `warn` is called with a text that names the samples and the dtype. What is not finite in float32 either is returned
    as it is.
    """
    out = run(net, slice(None))
    dtype = dtype_of(net)
    if dtype not in HALVES:
        return out
    broken = ~torch.isfinite(out).flatten(1).all(1)
    if not broken.any():
        return out
    samples = ", ".join(map(str, broken.nonzero().flatten().tolist()))
    warn(f"({dtype}) is not finite in sample {samples} of the batch; computed again in float32")
    return out.index_put((broken,), run(in_float32(net), broken).to(out.dtype))


def in_float32(net: N) -> N:
    """A copy of `net` whose floating-point weights are float32; no second copy in the dtype of `net` is made."""
    weights = {id(one): one.float() for one in net.buffers() if one.is_floating_point()}
    weights |= {  # to_dense, since a weight may be packed for the CPU's kernels: see nets.packed
        id(one): nn.Parameter(one.to_dense(torch.float32), requires_grad=one.requires_grad) for one in net.parameters()
    }
    return copy.deepcopy(net, weights)
