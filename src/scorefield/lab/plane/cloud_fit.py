"""The fit of a cloud to a shape, measured the same way in every experiment, in units of the data's deviation."""

import torch
from torch import Tensor

from scorefield.core.level import Level, noisy
from scorefield.data.shapes import Shape
from scorefield.evals.sliced import sliced_wasserstein

CLEAN = Level(1.0, 0.0)
_ROWS = 1024  # points per batch, each against all nodes


def distance(shape: Shape, x: Tensor) -> Tensor:
    """The distance (...) float32 of each point x (..., 2) to the nearest node of the shape."""
    rows = torch.split(x.reshape(-1, 2).double(), _ROWS)
    near = [torch.cdist(one, shape.nodes, compute_mode="donot_use_mm_for_euclid_dist").amin(1) for one in rows]
    return torch.cat(near).float().reshape(x.shape[:-1])


def spread(x: Tensor) -> float:
    """The standard deviation per coordinate of a cloud (N, 2): 1 for the data, 0 if all points coincide."""
    x = x.double()
    return float((x - x.mean(0)).square().mean().sqrt())


def noised(shape: Shape, count: int, at: Level, generator: torch.Generator) -> Tensor:
    """`count` states (count, 2) of fresh data at a level."""
    x0, _ = shape.draw(count, generator)
    return noisy(x0, torch.randn(x0.shape, generator=generator), at)


def between(ones: Tensor, others: Tensor) -> float:
    """The mean sliced Wasserstein distance between corresponding clouds (C, N, 2)."""
    return sum(map(sliced_wasserstein, ones, others)) / len(ones)


def misfit(shape: Shape, clouds: Tensor, generator: torch.Generator, at: Level = CLEAN) -> float:
    """The mean sliced Wasserstein distance of clouds (C, N, 2) to C fresh draws of N states at that level."""
    return between(clouds, torch.stack([noised(shape, clouds.shape[1], at, generator) for _ in clouds]))


def chance(shape: Shape, count: int, pairs: int, generator: torch.Generator, at: Level = CLEAN) -> float:
    """The `misfit` of the data itself: the mean over `pairs` pairs of fresh draws of `count` states."""
    return misfit(shape, torch.stack([noised(shape, count, at, generator) for _ in range(pairs)]), generator, at)
