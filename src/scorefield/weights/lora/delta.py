"""What the tensors of one layer of a LoRA add to its weight: the product of two narrow matrices (Hu et al. 2021)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from scorefield.weights.lora.keys import Role

Tensors = Mapping[Role, Tensor]


class MisfitError(ValueError):
    """Tensors that do not fit each other; the message says which shapes they have."""


def weight_shape(tensors: Tensors) -> tuple[int, ...]:
    """The `linear_shape` of the weight that `tensors` are for; MisfitError if they do not fit each other."""
    down, up, mid = tensors["down"], tensors["up"], tensors.get("mid")
    shapes = ", ".join(f"{role} {tuple(tensor.shape)}" for role, tensor in sorted(tensors.items()))
    if min(down.ndim, up.ndim) < 2 or len(down) == 0 or ("alpha" in tensors and tensors["alpha"].numel() != 1):
        raise MisfitError(f"these are no tensors of a LoRA: {shapes}")
    if mid is None:
        fits, kernel = up.shape[1] == len(down) and len(linear_shape(up)) == 2, linear_shape(down)[2:]
    else:
        fits = (
            len(linear_shape(down)) == len(linear_shape(up)) == 2
            and mid.ndim == 4
            and mid.shape[:2] == (up.shape[1], len(down))
        )
        kernel = linear_shape(mid)[2:]
    wanted = len(up), down.shape[1], *kernel
    for norms, axis in _norms(tensors):
        fits = fits and norms.numel() == wanted[axis]
    if not fits:
        raise MisfitError(f"its tensors do not fit each other: {shapes}")
    return wanted


def linear_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a tensor; for a 1 x 1 convolution, that of the linear layer which does the same."""
    return tuple(tensor.shape[:2]) if set(tensor.shape[2:]) <= {1} else tuple(tensor.shape)


def added(tensors: Tensors, scale: float, weight: Tensor) -> Tensor:
    """What the tensors add to `weight`, which has the shape that they are for; all is float32.

    DoRA also gives new norms to the rows, or to the columns, of the weight with its delta (Liu et al. 2024). What is
    returned then includes that change.
    """
    down, up, mid = tensors["down"], tensors["up"], tensors.get("mid")
    if mid is None:
        product = up.flatten(1) @ down.flatten(1)
    else:
        product = torch.einsum("om,mnhw,ni->oihw", up.flatten(1), mid, down.flatten(1))
    change = scale * product.reshape(weight.shape)
    for norms, axis in _norms(tensors):
        total = weight + change
        old = torch.linalg.vector_norm(total, dim=[k for k in range(total.ndim) if k != axis], keepdim=True)
        change = total * (norms.reshape(old.shape) / old) - weight
    return change


def _norms(tensors: Tensors) -> list[tuple[Tensor, int]]:
    """The norms that a DoRA gives to rows (axis 0) or to columns (axis 1), with that axis; none for other LoRAs."""
    if "lora_magnitude_vector" in tensors:
        return [(tensors["lora_magnitude_vector"], 0)]
    norms = tensors.get("dora_scale")
    return [] if norms is None else [(norms, int(norms.shape[:1] == (1,)))]
