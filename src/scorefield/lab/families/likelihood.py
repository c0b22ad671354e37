"""The density of points: exact for a shape, and by the change of volume for a model that samples by an ODE."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.core.noise import Noise
from scorefield.data.shapes import Shape
from scorefield.sample import samplers

_ROWS = 1000  # points per batch: their whole walk is kept for the gradient


def normal(x: Tensor) -> Tensor:
    """log N(x; 0, 1) of rows (N, D), (N,)."""
    return -0.5 * (x.square() + math.log(2 * math.pi)).sum(1)


def of_shape(shape: Shape, x: Tensor) -> Tensor:
    """The exact log density (N,) float64 of a shape at x (N, 2); ValueError for points without spread."""
    if not shape.spread:
        raise ValueError(f"{shape.name} has no spread, so it has no density")
    peak = -math.log(2 * math.pi * shape.spread**2) - math.log(len(shape.nodes))
    parts = [torch.cdist(part, shape.nodes).square() for part in torch.split(x.double(), _ROWS)]
    return torch.cat([peak + (-part / (2 * shape.spread**2)).logsumexp(1) for part in parts])


def of_walk(denoise: Denoise, x: Tensor, levels: Sequence[Level]) -> Tensor:
    """The log density (N,) at x (N, 2) under the ODE of `denoise` (Chen et al. 2018; Song et al. 2021b, section 4.3).

    `levels` lead from nearly clean to noise without a trace of the data, N(0, alpha^2 + sigma^2). Heun's method walks
    towards the noise; its change of volume is the determinant of the 2 x 2 Jacobian, which is exact for the steps
    taken, and tends to the integral of the divergence for small steps.
    """
    return torch.cat([_rows(denoise, part, levels) for part in torch.split(x, _ROWS)])


def _rows(denoise: Denoise, x: Tensor, levels: Sequence[Level]) -> Tensor:
    heun = samplers.find("heun")[0].sampler
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        *_, last = heun(denoise, levels[0].alpha * x, levels, _none)
        end = last.x / math.hypot(levels[-1].alpha, levels[-1].sigma)
        rows = [torch.autograd.grad(end[:, k].sum(), x, retain_graph=k == 0)[0].double() for k in (0, 1)]
    volume = rows[0][:, 0] * rows[1][:, 1] - rows[0][:, 1] * rows[1][:, 0]
    return normal(end.detach().double()) + volume.abs().log()


def _no_noise(at: Level, to: Level) -> Tensor:
    raise AssertionError(f"Heun's method adds no noise, but asked for it from {at} to {to}")


_none: Noise = _no_noise
