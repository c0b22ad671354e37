"""The optimal denoiser of a shape in closed form, E[x0 | x], and its uncertainty."""

from collections.abc import Callable

import torch
from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.data.shapes import Shape

_ROWS = 128  # states per batch, each against all nodes, so that the table fits the processor's cache


def posterior_mean(shape: Shape) -> Denoise:
    """The exact Denoise of a shape: states (B, 2) at a scalar level -> E[x0 | x] (B, 2), float64 inside.

    A node is weighted by the likelihood of the state, N(alpha node, alpha^2 spread^2 + sigma^2). ValueError at sigma 0
    for a shape without spread, which has no density.
    """
    return lambda x, at: _over_rows(_mean, shape, x, at)


def posterior_variance(shape: Shape) -> Callable[[Tensor, Level], Tensor]:
    """Var[x0 | x] of a shape, the mean over both coordinates: states (B, 2) at a scalar level -> (B,)."""
    return lambda x, at: _over_rows(_variance, shape, x, at)


def _over_rows(of: Callable[[Shape, Tensor, float, float], Tensor], shape: Shape, x: Tensor, at: Level) -> Tensor:
    parts = torch.split(x.double(), _ROWS)
    return torch.cat([of(shape, part, float(at.alpha), float(at.sigma)) for part in parts]).to(x)


def _weights(shape: Shape, x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, float]:
    """The probability of each node (B, nodes), and the variance of a state about its node."""
    variance = (alpha * shape.spread) ** 2 + sigma**2
    if variance == 0:
        raise ValueError("a shape without spread has no posterior mean at sigma = 0; use a level with some noise")
    distance = torch.cdist(x, alpha * shape.nodes, compute_mode="donot_use_mm_for_euclid_dist").square()
    return (-distance / (2 * variance)).softmax(1), variance


def _mean(shape: Shape, x: Tensor, alpha: float, sigma: float) -> Tensor:
    weights, variance = _weights(shape, x, alpha, sigma)
    mean = weights @ shape.nodes
    # Within a node's Gaussian the state attracts the mean.
    return mean + alpha * shape.spread**2 / variance * (x - alpha * mean)


def _variance(shape: Shape, x: Tensor, alpha: float, sigma: float) -> Tensor:
    weights, variance = _weights(shape, x, alpha, sigma)
    away = torch.cdist(weights @ shape.nodes, shape.nodes, compute_mode="donot_use_mm_for_euclid_dist")
    among = (weights * away.square()).sum(1) / 2
    # The variance between nodes, and within a node's Gaussian.
    return among * (sigma**2 / variance) ** 2 + shape.spread**2 * sigma**2 / variance
