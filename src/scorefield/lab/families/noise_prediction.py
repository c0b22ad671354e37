"""Diffusion as in DDPM: a network that predicts the noise in a state, and a long walk down the noise.

It is trained on a thousand rungs with the loss of Ho et al. (2020, eq. 14); a sample walks 150 of them with fresh noise
at every step. The log-likelihood is that of the ODE with the same marginals. Two noise schedules were tried: the linear
one of Ho et al., and the cosine of Nichol & Dhariwal (2021).
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from scorefield.core import clock, gauge, grid, noise_schedule, predict
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Preconditioned, bind
from scorefield.core.level import Level
from scorefield.data.shapes import Shape
from scorefield.lab.families.generative_family import (
    Family,
    Likelihood,
    Model,
    Training,
    Update,
    minimise,
    seeded,
    variant,
)
from scorefield.lab.families.likelihood import of_walk
from scorefield.nets.mlp import PlaneConfig, PlaneNet
from scorefield.sample import samplers
from scorefield.train.objective import objective

Betas = Literal["linear", "cosine"]
NOISIEST = -5.1  # lam: on noisier cosine rungs the predicted noise carries no information about x0
STEPS = 150  # as in the source
STEPS_OF_LIKELIHOOD = 60


class Diffusion(Model):
    """The network of the plane as a denoiser of DDPM's rungs."""

    likelihood: ClassVar[Likelihood] = "exact"

    def __init__(self, *, betas: Betas, width: int = 64, steps: int = STEPS) -> None:
        super().__init__()
        table = noise_schedule.lams(
            noise_schedule.cumulative(noise_schedule.linear() if betas == "linear" else noise_schedule.cosine())
        )
        table = table[table > NOISIEST]
        self.steps, self.table, self.ladder = steps, table.float(), noise_schedule.discrete(table)
        self.denoiser = Preconditioned(PlaneNet(PlaneConfig(width=width, waves=3)), predict.eps, clock.flow)

    @property
    def calls(self) -> int:
        return self.steps

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        def noise(at: Level, to: Level) -> Tensor:
            return torch.randn(count, 2, generator=generator)

        levels = grid.levels(gauge.vp, grid.trailing(self.ladder)(self.steps))
        x = torch.randn(count, 2, generator=generator)
        *_, last = samplers.find("ddpm")[0].sampler(bind(self.denoiser, Cond()), x, levels, noise)
        return last.x

    def lams_of_likelihood(self) -> list[float]:
        """The levels from the cleanest rung to the noisiest."""
        return grid.exponential(self.ladder)(STEPS_OF_LIKELIHOOD)[-2::-1]

    def log_likelihood(self, x: Tensor) -> Tensor:
        return of_walk(bind(self.denoiser, Cond()), x, [gauge.vp(lam) for lam in self.lams_of_likelihood()])


def loss(model: Diffusion, x0: Tensor, generator: torch.Generator) -> Tensor:
    """The mean squared error of the predicted noise, over uniformly drawn rungs."""
    rung = torch.randint(len(model.table), (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    return objective(model.denoiser, x0, Cond(), gauge.vp(model.table[rung]), eps).mean()


def training(shape: Shape, how: Training, seed: int, *, betas: Betas = "cosine") -> Iterator[Update[Diffusion]]:
    """Train on the error of the predicted noise."""
    return minimise(seeded(lambda: Diffusion(betas=betas), seed), loss, shape, how, seed)


FAMILY = Family(name="diffusion", title="diffusion", training=training, how=Training(steps=2080, lr=0.003))
VARIANTS: Mapping[str, Family] = {
    "linear": variant(FAMILY, partial(training, betas="linear"), steps=2080),
    "cosine": FAMILY,
}
