"""How much of a distribution a cloud of samples reaches, and how many of its samples belong there."""

import torch
from torch import Tensor

_ROWS = 1024  # points whose distances to all others are held at once


def nearest(points: Tensor, others: Tensor) -> Tensor:
    """How far each of points (N, D) is from the nearest of others (M, D): (N,) float64, in their own unit."""
    if not len(others):
        raise ValueError("there is no other point to be near to")
    parts = torch.split(points.double(), _ROWS)
    return torch.cat([torch.cdist(part, others.double()).min(1).values for part in parts])


def coverage(samples: Tensor, nodes: Tensor, radius: float) -> float:
    """The share of nodes (M, D) with one of samples (N, D) within `radius` (after Naeem et al. 2020, eq. 6).

    1 where no part of the distribution is left out; a model that drops modes has less.
    """
    return float((nearest(nodes, samples) <= radius).double().mean())


def precision(samples: Tensor, nodes: Tensor, radius: float) -> float:
    """The share of samples (N, D) with one of nodes (M, D) within `radius` (after Kynkäänniemi et al. 2019, eq. 2).

    1 where every sample could be data; a model that smears has less. A sample that is not finite is near to nothing.
    """
    return float((nearest(samples, nodes) <= radius).double().mean())


def radius_of(points: Tensor, others: Tensor, share: float = 0.99) -> float:
    """The radius that leaves `share` of points (N, D) near one of others (M, D): the data's own, of two data sets."""
    return float(torch.quantile(nearest(points, others), share))
