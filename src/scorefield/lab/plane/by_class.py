"""The classes of a shape in the plane: their names, the field of one, and the class of a point."""

import dataclasses

import torch
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.core.denoiser import Denoise, Denoiser
from scorefield.data import shapes
from scorefield.data.shapes import Shape


def labelled(shape: Shape) -> Shape:
    """The shape; one without classes gets three, by the angle around its centre (two for two points)."""
    if int(shape.label.max()) > 0:
        return shape
    angle = torch.atan2(shape.nodes[:, 1], shape.nodes[:, 0])
    rank = angle.argsort().argsort()
    return dataclasses.replace(shape, label=rank * min(3, len(rank)) // len(rank))


def of_class(denoiser: Denoiser, label: int) -> Denoise:
    """The field of a class; the label after the last is no class."""
    return lambda x, at: denoiser(x, at, Cond(label=torch.full((len(x),), label)))


def nearest(shape: Shape, x: Tensor) -> Tensor:
    """The class (N,) of the node nearest to each point (N, 2)."""
    return shape.label[torch.cdist(x.double(), shape.nodes).argmin(1)]


def share(found: Tensor, label: int) -> float:
    """The share of the classes (N,) that equal `label`."""
    return float((found == label).double().mean())


def names(shape: Shape) -> list[str]:
    """The names of the classes."""
    if shape.name == "spiral":
        return list(shapes.CLASSES)
    return [f"class {label + 1}" for label in range(int(shape.label.max()) + 1)]
