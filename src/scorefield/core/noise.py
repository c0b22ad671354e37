"""Noise: unit normals for an interval between two levels; one CPU generator a sample."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scorefield.core.level import Level

Noise = Callable[[Level, Level], Tensor]  # (from, to) -> unit normal (B, ...)


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator a sample, so that a sample depends on its seed alone."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def initial(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """The unit normal (B, *shape) that each seed starts from."""
    return torch.stack([torch.randn(tuple(shape), generator=g) for g in generators(seeds)]).to(device)
