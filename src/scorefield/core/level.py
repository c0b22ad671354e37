"""A noise level, and the noisy state at it: x = alpha * x0 + sigma * eps."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

Number = float | Tensor


class Level(NamedTuple):
    """The pair (alpha, sigma): how much picture and how much noise a state holds.

    Floats while sampling, (B,) tensors while training. `alpha = 0` is pure noise, `sigma = 0` is clean.
    """

    alpha: Number
    sigma: Number

    @property
    def lam(self) -> Number:
        """log(alpha / sigma): half the log signal-to-noise ratio; -inf is pure noise, +inf is clean."""
        if isinstance(self.alpha, Tensor) or isinstance(self.sigma, Tensor):
            return _log(self.alpha) - _log(self.sigma)
        if self.alpha <= 0:
            return -math.inf
        if self.sigma <= 0:
            return math.inf
        return math.log(self.alpha) - math.log(self.sigma)


def _log(value: Number) -> Tensor:
    return (value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float32, device="cpu")).log()


def per_sample(value: Number, like: Tensor) -> Number:
    """`value` shaped to multiply `like` (B, ...) if it is a (B,) tensor; a float is returned unchanged."""
    if isinstance(value, Tensor) and value.ndim == 1:
        return value.reshape(-1, *[1] * (like.ndim - 1))
    return value


def noisy(x0: Tensor, eps: Tensor, at: Level) -> Tensor:
    """The state alpha * x0 + sigma * eps; x0 and eps (B, ...)."""
    return per_sample(at.alpha, x0) * x0 + per_sample(at.sigma, eps) * eps


def eps_of(x: Tensor, x0: Tensor, at: Level) -> Tensor:
    """The noise that `x` holds if `x0` is the clean picture: (x - alpha * x0) / sigma; needs sigma > 0."""
    return (x - per_sample(at.alpha, x) * x0) / per_sample(at.sigma, x)
