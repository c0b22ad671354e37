"""Guidance among the classes of a shape: the walks, and measurements on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level, eps_of
from scorefield.data.shapes import Shape
from scorefield.lab import style
from scorefield.lab.plane import cloud_fit, levels
from scorefield.lab.plane.convergence import no_noise
from scorefield.sample.one_step import euler

ALPHAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
GUIDED = 3.0  # the alpha of the figure and the animation
TIMES = tuple(k / 20 for k in range(1, 20))
SHOWN = (0.8, 0.2)  # t of the drawn fields
WIDE = 3.2  # half the side of a picture: guided samples leave the data
GRID = style.lattice(17, WIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guided:
    """Clouds (classes, points, 2) by alpha, the agreement of the fields, and the walk of the last class."""

    shape: Shape
    learned: Tensor  # (times,) cosine of the conditional and the unconditional field
    exact: Tensor
    # By t: places, and arrows without a class, for the last class, and guided.
    pushes: Mapping[float, Sequence[tuple[Tensor, Tensor]]]
    clouds: Mapping[float, Tensor]
    without: Tensor  # (points, 2): anything but the middle class
    right: Tensor  # (alphas, classes)
    fit: Tensor  # (alphas, classes)
    ways: Sequence[Tensor]  # (steps + 1, points, 2) of the last class, conditional and guided
    followed: int  # the index of the drawn point
    arrows: Sequence[Tensor]  # (steps, places, 2) of the two fields
    levels: Sequence[Level]
    numbers: Mapping[str, float]


def walk(denoise: Denoise, start: Tensor, passed: Sequence[Level]) -> Tensor:
    """The states (steps + 1, N, 2) of Euler's method, which is DDIM."""
    return torch.stack([step.x for step in euler(denoise, start, passed, no_noise)])


def push(denoise: Denoise, t: float) -> tuple[Tensor, Tensor]:
    """Places (N, 2) out to the noise at t, with alpha 1, and the field's step from there to x0."""
    sigma = t / (1 - t)
    places = style.lattice(9, max(style.LIMIT, 2 * sigma))
    return places, denoise(places, Level(1.0, sigma)) - places


def agreement(shape: Shape, fields: Sequence[Denoise], none: Denoise, seed: int, states: int = 500) -> Tensor:
    """The mean cosine (times,) between the noise predicted by the fields and by `none`, at noisy points of all data."""
    generator = torch.Generator().manual_seed(seed)
    cosines = []
    for at in map(levels.level, TIMES):
        x = cloud_fit.noised(shape, states, at, generator)
        eps = eps_of(x, none(x, at), at)
        cosines.append([torch.cosine_similarity(eps_of(x, field(x, at), at), eps, dim=1).mean() for field in fields])
    return torch.tensor(cosines).mean(1)
