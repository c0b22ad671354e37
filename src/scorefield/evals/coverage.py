"""The share of a distribution that a cloud of samples covers, and the share of samples that belong to it."""

import torch
from torch import Tensor

_ROWS = 1024  # points whose distances to all others are in memory at once


def nearest(points: Tensor, others: Tensor) -> Tensor:
    """The distance (N,) float64 of each of points (N, D) to the nearest of others (M, D)."""
    if not len(others):
        raise ValueError("there are no other points to measure a distance to")
    parts = torch.split(points.double(), _ROWS)
    return torch.cat([torch.cdist(part, others.double()).min(1).values for part in parts])


def coverage(samples: Tensor, nodes: Tensor, radius: float) -> float:
    """The share of nodes (M, D) with one of samples (N, D) within `radius` (after Naeem et al. 2020, eq. 6).

    It is 1 if no part of the distribution is missing; a model that drops modes has less.
    """
    return float((nearest(nodes, samples) <= radius).double().mean())


def precision(samples: Tensor, nodes: Tensor, radius: float) -> float:
    """The share of samples (N, D) with one of nodes (M, D) within `radius` (after Kynkäänniemi et al. 2019, eq. 2).

    It is 1 if every sample could be data; a model that smears has less. A sample that is not finite is near nothing.
    """
    return float((nearest(samples, nodes) <= radius).double().mean())


def radius_of(points: Tensor, others: Tensor, share: float = 0.99) -> float:
    """The radius within which `share` of points (N, D) have one of others (M, D); both are samples of the data."""
    return float(torch.quantile(nearest(points, others), share))
