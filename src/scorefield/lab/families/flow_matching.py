"""Flow matching: a network that predicts a velocity, and a short walk along it.

Noise and data are joined by straight lines, x = (1 - t) x0 + t eps, and the network learns their mean direction eps -
x0 at every place and time (Lipman et al. 2022; Liu et al. 2022). A sample follows it from noise to data by Heun's
method, without fresh noise. The log-likelihood is that of the same ODE. Two densities of the training times were tried:
uniform, and logit-normal (Esser et al. 2024).
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
from scorefield.train.objective import levels, logit_normal, objective, uniform

Density = Literal["uniform", "logit_normal"]
DENSITIES = {"uniform": uniform, "logit_normal": logit_normal()}
STEPS = 10  # Heun steps: two calls each, and one for the last
STEPS_OF_LIKELIHOOD = 60


class FlowMatching(Model):
    """The network of the plane as a velocity."""

    likelihood: ClassVar[Likelihood] = "exact"

    def __init__(self, *, width: int = 64, steps: int = STEPS) -> None:
        super().__init__()
        self.steps = steps
        self.denoiser = Preconditioned(PlaneNet(PlaneConfig(width=width, waves=3)), predict.flow, clock.flow)

    @property
    def calls(self) -> int:
        return 2 * self.steps - 1

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        def noise(at: Level, to: Level) -> Tensor:
            return torch.randn(count, 2, generator=generator)

        walked = grid.levels(gauge.rf, grid.trailing(noise_schedule.flow())(self.steps))
        x = torch.randn(count, 2, generator=generator)
        *_, last = samplers.find("heun")[0].sampler(bind(self.denoiser, Cond()), x, walked, noise)
        return last.x

    def lams_of_likelihood(self) -> list[float]:
        """The levels from the cleanest rung of a flow's ladder to one that is nearly noise."""
        return grid.exponential(noise_schedule.flow())(STEPS_OF_LIKELIHOOD)[-2::-1]

    def log_likelihood(self, x: Tensor) -> Tensor:
        return of_walk(bind(self.denoiser, Cond()), x, [gauge.rf(lam) for lam in self.lams_of_likelihood()])


def training(shape: Shape, how: Training, seed: int, *, density: Density = "uniform") -> Iterator[Update[FlowMatching]]:
    """Train on the error of the predicted direction, with times drawn from `density`."""

    def loss(model: FlowMatching, x0: Tensor, generator: torch.Generator) -> Tensor:
        at = levels(gauge.rf, DENSITIES[density], len(x0), generator)
        eps = torch.randn(x0.shape, generator=generator)
        return objective(model.denoiser, x0, Cond(), at, eps).mean()

    return minimise(seeded(FlowMatching, seed), loss, shape, how, seed)


FAMILY = Family(name="flow_matching", title="flow matching", training=training, how=Training(steps=2080, lr=0.003))
VARIANTS: Mapping[str, Family] = {
    "uniform": FAMILY,
    "logit_normal": variant(FAMILY, partial(training, density="logit_normal"), steps=2080),
}
