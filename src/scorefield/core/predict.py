"""Predictions, the meanings of a network's output: the table of docs/architecture.md, one function per row.

With the network F and its row of the table, D(x) = c_skip * x + c_out * F(c_in * x) is the denoiser (Karras et al.
2022, eq. 7, extended to alpha != 1). Sampling and training read the same row, so they cannot disagree.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from scorefield.core.level import Level, Number, per_sample


class Scales(NamedTuple):
    """The three scalings around the network at one level."""

    c_in: Number
    c_skip: Number
    c_out: Number


Prediction = Callable[[Level], Scales]


def _norm(at: Level) -> Number:
    return (at.alpha**2 + at.sigma**2) ** 0.5


def eps(at: Level) -> Scales:
    """The network predicts the noise, trained on VP states (Ho et al. 2020). Singular at alpha = 0."""
    return Scales(1 / _norm(at), 1 / at.alpha, -at.sigma / at.alpha)


def v(at: Level) -> Scales:
    """The network predicts v = alpha * eps - sigma * x0 on VP states (Salimans & Ho 2022)."""
    norm = _norm(at)
    return Scales(1 / norm, at.alpha / norm**2, -at.sigma / norm)


def flow(at: Level) -> Scales:
    """The network predicts eps - x0 on RF states (Lipman et al. 2022; Liu et al. 2022)."""
    total = at.alpha + at.sigma
    return Scales(1 / total, 1 / total, -at.sigma / total)


def x0(at: Level) -> Scales:
    """The network predicts the clean picture, trained on VP states."""
    return Scales(1 / _norm(at), 0.0, 1.0)


def edm(sigma_data: float) -> Prediction:
    """EDM's preconditioning for data of standard deviation `sigma_data` (Karras et al. 2022, table 1)."""

    def scales(at: Level) -> Scales:
        total = at.sigma**2 + at.alpha**2 * sigma_data**2
        return Scales(total**-0.5, at.alpha * sigma_data**2 / total, at.sigma * sigma_data / total**0.5)

    return scales


def target(prediction: Prediction, x: Tensor, clean: Tensor, at: Level) -> Tensor:
    """The training target for state `x` of picture `clean` (both (B, ...)): (x0 - c_skip x) / c_out."""
    scales = prediction(at)
    return (clean - per_sample(scales.c_skip, x) * x) / per_sample(scales.c_out, x)
