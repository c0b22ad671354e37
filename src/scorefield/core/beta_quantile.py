"""The quantiles of a beta distribution, without scipy."""

import math

import torch
from torch import Tensor

HALVINGS = 80  # of the quantile's bracket, which ends below float64's rounding, also near 0
TERMS = 60  # of the series at x <= 1/2, where each is less than half the one before


def _mass(x: Tensor, a: float, b: float) -> Tensor:
    """The integral of u^(a-1) (1-u)^(b-1) from 0 to x <= 1/2 (DLMF 8.17.7 by the series of 15.2.1)."""
    k = torch.arange(TERMS, dtype=torch.float64, device="cpu")
    rising = torch.cat([k.new_ones(1), (k[1:] - b) / k[1:]]).cumprod(0)
    return x**a * (x.unsqueeze(-1) ** k * (rising / (a + k))).sum(-1)


def quantile(share: Tensor, a: float, b: float) -> Tensor:
    """The x below which `share` of Beta(a, b) lies; share in [0, 1], any shape, float64; a, b above 0."""
    whole = math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))
    middle = _mass(torch.tensor(0.5, dtype=torch.float64, device="cpu"), a, b) / whole
    mirrored = share > middle
    goal = torch.where(mirrored, 1 - share, share) * whole
    low, high = torch.zeros_like(share), torch.full_like(share, 0.5)
    for _ in range(HALVINGS):
        x = (low + high) / 2
        below = torch.where(mirrored, _mass(x, b, a), _mass(x, a, b)) < goal
        low, high = torch.where(below, x, low), torch.where(below, high, x)
    return torch.where(mirrored, 1 - low, low)
