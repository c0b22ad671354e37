"""Gauges: how a level of given lam = log(alpha / sigma) is scaled."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from scorefield.core.level import Level, Number

Gauge = Callable[[Number], Level]


def _sigmoid(value: Number) -> Number:
    if isinstance(value, Tensor):
        return torch.sigmoid(value)
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    grown = math.exp(value)
    return grown / (1 + grown)


def _exp(value: Number) -> Number:
    return value.exp() if isinstance(value, Tensor) else math.exp(value)


def _sqrt(value: Number) -> Number:
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)


def ve(lam: Number) -> Level:
    """Variance exploding: (1, e^-lam). It has no level of pure noise (lam = -inf overflows)."""
    return Level(1.0 if not isinstance(lam, Tensor) else torch.ones_like(lam), _exp(-lam))


def vp(lam: Number) -> Level:
    """Variance preserving: alpha^2 + sigma^2 = 1."""
    return Level(_sqrt(_sigmoid(2 * lam)), _sqrt(_sigmoid(-2 * lam)))


def rf(lam: Number) -> Level:
    """Rectified flow: alpha + sigma = 1."""
    return Level(_sigmoid(lam), _sigmoid(-lam))
