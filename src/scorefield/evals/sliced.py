"""Distances between two clouds of points."""

import torch
from torch import Tensor


def sliced_wasserstein(one: Tensor, other: Tensor, directions: int = 256, seed: int = 0) -> float:
    """The sliced 2-Wasserstein distance of two clouds (N, D), in their unit (Bonneel et al. 2015).

    It is the root of the mean squared distance between their sorted projections, over random directions. ValueError
    unless both have equally many points.
    """
    if one.shape != other.shape:
        raise ValueError(f"the clouds must have the same size, not {tuple(one.shape)} and {tuple(other.shape)}")
    generator = torch.Generator().manual_seed(seed)
    axes = torch.randn(one.shape[1], directions, generator=generator, dtype=torch.float64)
    axes = axes / axes.norm(dim=0)
    gap = (one.double() @ axes).sort(0).values - (other.double() @ axes).sort(0).values
    return float(gap.square().mean().sqrt())
