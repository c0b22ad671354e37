"""What the tensors of one layer of a LoRA add to its weight: the product of two narrow matrices (Hu et al. 2021)."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

# down (rank, in, ...) and up (out, rank, ...); between them, in LoCon's convolutions, mid (rank, rank, height, width);
# alpha, which over the rank is the scale; of DoRA the norms that the rows, or the columns, of the whole weight shall
# have.
Role = Literal["down", "up", "mid", "alpha", "rows", "columns"]
Tensors = Mapping[Role, Tensor]


class MisfitError(ValueError):
    """Tensors that do not fit each other; the message says which shapes they have."""


def shape(tensors: Tensors) -> tuple[int, ...]:
    """The shape of the weight that `tensors` are for, as `plain` has it; MisfitError if they are for none."""
    down, up, mid = tensors["down"], tensors["up"], tensors.get("mid")
    told = ", ".join(f"{role} {tuple(tensor.shape)}" for role, tensor in sorted(tensors.items()))
    if min(down.ndim, up.ndim) < 2 or len(down) == 0 or ("alpha" in tensors and tensors["alpha"].numel() != 1):
        raise MisfitError(f"these are no tensors of a LoRA: {told}")
    if mid is None:
        fits, kernel = up.shape[1] == len(down) and len(plain(up)) == 2, plain(down)[2:]
    else:
        fits = len(plain(down)) == len(plain(up)) == 2 and mid.ndim == 4 and mid.shape[:2] == (up.shape[1], len(down))
        kernel = plain(mid)[2:]
    rows, columns = tensors.get("rows"), tensors.get("columns")
    fits = fits and (rows is None or rows.numel() == len(up)) and (columns is None or columns.numel() == down.shape[1])
    if not fits:
        raise MisfitError(f"its tensors do not fit each other: {told}")
    return len(up), down.shape[1], *kernel


def plain(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a tensor; of a 1 x 1 convolution that of the linear layer which it is."""
    return tuple(tensor.shape[:2]) if set(tensor.shape[2:]) <= {1} else tuple(tensor.shape)


def delta(tensors: Tensors, scale: float, weight: Tensor) -> Tensor:
    """What is to be added to `weight`, of the `shape` that the tensors are for: all in float32 and of its shape.

    DoRA gives the rows, or the columns, of the weight with its delta other norms (Liu et al. 2024): what is to be added
    is all that this changes.
    """
    down, up, mid = tensors["down"], tensors["up"], tensors.get("mid")
    if mid is None:
        product = up.flatten(1) @ down.flatten(1)
    else:
        product = torch.einsum("om,mnhw,ni->oihw", up.flatten(1), mid, down.flatten(1))
    added = scale * product.reshape(weight.shape)
    for across, wanted in enumerate((tensors.get("rows"), tensors.get("columns"))):
        if wanted is not None:
            whole = weight + added
            norms = torch.linalg.vector_norm(whole, dim=[k for k in range(whole.ndim) if k != across], keepdim=True)
            added = whole * (wanted.reshape(norms.shape) / norms) - weight
    return added
