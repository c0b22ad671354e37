"""What the tensors of one layer of a LoRA add to its weight: the product of two narrow matrices (Hu et al. 2021)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from scorefield.weights.lora_keys import Role

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
    made = len(up), down.shape[1], *kernel
    for norms, across in _norms(tensors):
        fits = fits and norms.numel() == made[across]
    if not fits:
        raise MisfitError(f"its tensors do not fit each other: {told}")
    return made


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
    for norms, across in _norms(tensors):
        whole = weight + added
        are = torch.linalg.vector_norm(whole, dim=[k for k in range(whole.ndim) if k != across], keepdim=True)
        added = whole * (norms.reshape(are.shape) / are) - weight
    return added


def _norms(tensors: Tensors) -> list[tuple[Tensor, int]]:
    """The norms that DoRA wants, if it is one, and whether they are of rows (0) or of columns (1)."""
    if "lora_magnitude_vector" in tensors:
        return [(tensors["lora_magnitude_vector"], 0)]
    norms = tensors.get("dora_scale")
    return [] if norms is None else [(norms, int(norms.shape[:1] == (1,)))]
