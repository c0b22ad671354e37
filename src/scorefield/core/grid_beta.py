"""Grids at the quantiles of a beta distribution, and those quantiles without scipy."""

import math

import torch
from torch import Tensor

from scorefield.core.grid import Grid, finite_ends, in_lam, on_rungs
from scorefield.core.noise_schedule import Ladder

HALVINGS = 80  # of the quantile's bracket: below the rounding of float64 near 0 too
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


def beta(ladder: Ladder, a: float = 0.6, b: float = 0.6) -> Grid:
    """Rungs at quantiles of Beta(a, b), dense at both ends (Lee et al. 2024, arXiv 2407.12173; ComfyUI, rounded)."""

    def rungs(steps: int) -> list[float]:
        shares = 1 - torch.arange(steps, dtype=torch.float64, device="cpu") / steps
        return ((ladder.count - 1) * quantile(shares, a, b)).tolist()

    return on_rungs(ladder, rungs)


def beta_sigma(ladder: Ladder, a: float = 0.6, b: float = 0.6) -> Grid:
    """sigma / alpha at quantiles of Beta(a, b) between the ends (diffusers' use_beta_sigmas, A1111's Beta)."""
    noisy, clean = (math.exp(-lam) for lam in finite_ends(ladder))

    def curve(shares: list[float]) -> list[float]:
        x = quantile(1 - torch.tensor(shares, dtype=torch.float64, device="cpu"), a, b)
        lams: list[float] = (-(clean + x * (noisy - clean)).log()).tolist()
        return lams

    return in_lam(ladder, curve)
