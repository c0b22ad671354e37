"""The delta of one layer of a LoRA: the product of two narrow matrices (Hu et al. 2021)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from scorefield.weights.lora.keys import Role

Tensors = Mapping[Role, Tensor]
Shape = tuple[int, ...]


class MisfitError(ValueError):
    """Tensors that do not fit each other; the message says which shapes they have."""


def weight_shape(shapes: Mapping[Role, Shape]) -> Shape:
    """The `linear_shape` of the weight that tensors of these shapes are for; MisfitError if they do not fit."""
    down, up, mid = shapes["down"], shapes["up"], shapes.get("mid")
    listed = ", ".join(f"{role} {shape}" for role, shape in sorted(shapes.items()))
    if min(len(down), len(up)) < 2 or down[0] == 0 or set(shapes.get("alpha", ())) - {1}:
        raise MisfitError(f"these are not the tensors of a LoRA layer: {listed}")
    if mid is None:
        fits, kernel = up[1] == down[0] and len(linear_shape(up)) == 2, linear_shape(down)[2:]
    else:
        fits = len(linear_shape(down)) == len(linear_shape(up)) == 2 and len(mid) == 4 and mid[:2] == (up[1], down[0])
        kernel = linear_shape(mid)[2:]
    wanted = up[0], down[1], *kernel
    if (norms := _norms(shapes)) is not None:
        fits = fits and torch.Size(norms[0]).numel() == wanted[norms[1]]
    if not fits:
        raise MisfitError(f"its tensors do not fit each other: {listed}")
    return wanted


def linear_shape(shape: Shape) -> Shape:
    """The shape; for a 1 x 1 convolution, that of the equivalent linear layer."""
    return tuple(shape[:2]) if set(shape[2:]) <= {1} else tuple(shape)


def added(tensors: Tensors, scale: float, weight: Tensor) -> Tensor:
    """Compute the delta of `weight`, which has the shape that the tensors are for; all in float32.

    DoRA also gives new norms to the rows, or to the columns, of the weight with its delta (Liu et al. 2024). The delta
    then includes that change.
    """
    down, up, mid = tensors["down"], tensors["up"], tensors.get("mid")
    if mid is None:
        product = up.flatten(1) @ down.flatten(1)
    else:
        product = torch.einsum("om,mnhw,ni->oihw", up.flatten(1), mid, down.flatten(1))
    change = scale * product.reshape(weight.shape)
    shapes = {role: tuple(tensor.shape) for role, tensor in tensors.items()}
    if (norms := _norms(shapes)) is None:
        return change
    _, axis, role = norms
    total = weight + change
    old: Tensor = torch.linalg.vector_norm(total, dim=[k for k in range(total.ndim) if k != axis], keepdim=True)
    return total * (tensors[role].reshape(old.shape) / old) - weight


def _norms(shapes: Mapping[Role, Shape]) -> tuple[Shape, int, Role] | None:
    """The shape of the norms that a DoRA gives, to rows (axis 0) or columns (axis 1), and their role; else None."""
    if "lora_magnitude_vector" in shapes:
        return shapes["lora_magnitude_vector"], 0, "lora_magnitude_vector"
    if "dora_scale" in shapes:
        return shapes["dora_scale"], int(shapes["dora_scale"][:1] == (1,)), "dora_scale"
    return None
