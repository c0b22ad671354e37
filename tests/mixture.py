"""An exact denoiser: the posterior mean of a Gaussian mixture, at any level of any gauge. Float64."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from scorefield.core.level import Level


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Components with weights (K,), means (K, D) and one deviation each (K,)."""

    weights: Tensor
    means: Tensor
    deviations: Tensor

    def __call__(self, x: Tensor, at: Level) -> Tensor:
        """E[x0 | x]: a Denoise. x (B, D); finite at alpha = 0 and at sigma = 0."""
        alpha, sigma = at
        spread = alpha**2 * self.deviations**2 + sigma**2  # (K,), the variance of x within a component
        away = x[:, None] - alpha * self.means  # (B, K, D)
        evidence = self.weights.log() - away.square().sum(-1) / (2 * spread) - x.shape[1] / 2 * spread.log()
        share = evidence.softmax(-1)[..., None]
        return (share * (self.means + (alpha * self.deviations**2 / spread)[:, None] * away)).sum(1)

    @property
    def mean(self) -> Tensor:
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        away = self.means - self.mean
        within = (self.weights @ self.deviations**2) * torch.eye(self.means.shape[1], dtype=torch.float64)
        return within + (self.weights[:, None] * away).T @ away

    def draw(self, count: int, source: torch.Generator) -> Tensor:
        """Clean samples (count, D)."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=source)
        noise = torch.randn(count, self.means.shape[1], generator=source, dtype=torch.float64)
        return self.means[which] + self.deviations[which, None] * noise

    def flow(self, x: Tensor, levels: list[Level]) -> list[Tensor]:
        """The states of the probability-flow ODE at `levels`, from `x` at levels[0], to twelve digits or so.

        Solved in VE's x / alpha over lam, d(x/alpha) = -(sigma/alpha) eps d(lam), by a method of order 8.
        """

        def slope(lam: float, flat: np.ndarray) -> np.ndarray:
            state = torch.from_numpy(flat).reshape(x.shape)
            return (self(state, Level(1.0, math.exp(-lam))) - state).flatten().numpy()

        start = (x / levels[0].alpha).flatten().numpy()
        lams = [float(at.lam) for at in levels]
        found = solve_ivp(slope, (lams[0], lams[-1]), start, "DOP853", lams, rtol=1e-12, atol=1e-13)
        assert found.success
        return [at.alpha * torch.from_numpy(y.copy()).reshape(x.shape) for at, y in zip(levels, found.y.T, strict=True)]


THREE = Mixture(
    weights=torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
    means=torch.tensor([[1.0, 0.5], [-1.2, 0.3], [0.2, -1.5]], dtype=torch.float64),
    deviations=torch.tensor([0.4, 0.3, 0.6], dtype=torch.float64),
)
