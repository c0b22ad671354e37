"""Levels of the plane by one number: t, the share of noise sigma / (alpha + sigma), from 0, clean, to 1, pure noise."""

import math

import torch
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.level import Level


def level(t: float) -> Level:
    """The level with that share of noise, in the VP gauge; exact at both ends."""
    return gauge.vp(math.log1p(-t) - math.log(t) if 0 < t < 1 else math.inf if t <= 0 else -math.inf)


def share(at: Level) -> float:
    """The t of a level of any gauge."""
    return float(at.sigma) / (float(at.alpha) + float(at.sigma))


def walk_down(steps: int, start: float = 1.0, end: float = 0.0) -> list[Level]:
    """`steps` + 1 levels from t = `start` to t = `end`, evenly spaced."""
    return [level(start + (end - start) * k / steps) for k in range(steps + 1)]


def slowing_down(steps: int, start: float = 1.0) -> list[Level]:
    """`steps` + 1 levels from t = `start` to 0, denser towards 0, since small t decide most of a shape."""
    return [level(start * (1 - k / steps) ** 2) for k in range(steps + 1)]


def batch(t: Tensor) -> Level:
    """Levels (B,) float32 of shares t (B,) strictly between 0 and 1, in the VP gauge."""
    return gauge.vp(-torch.logit(t.double()).float())
