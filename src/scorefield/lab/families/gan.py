"""A generative adversarial network: a generator whose samples a critic cannot distinguish from data.

Nothing is fitted to the data; the critic learns to distinguish, and the generator learns from the critic's gradient
(Goodfellow et al. 2014). So there is no likelihood, and a sample takes one call. Two losses were tried: the
non-saturating one with a penalty on the critic's slope on data (R1, Mescheder et al. 2018), and the Wasserstein
distance with the slope held at one between data and samples (WGAN-GP, Gulrajani et al. 2017).
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from scorefield.data.shapes import Shape
from scorefield.lab.families.generative_family import (
    Averaged,
    Family,
    Likelihood,
    Model,
    Training,
    Update,
    descend,
    optimiser,
    seeded,
    variant,
)
from scorefield.lab.families.network import Residual

Loss = Literal["r1", "wgan_gp"]
LATENT = 2


class Gan(Model):
    """The generator, and the critic, which only training uses."""

    likelihood: ClassVar[Likelihood] = "none"

    def __init__(self, width: int = 81, depth: int = 2) -> None:
        super().__init__()
        self.generator = Residual(LATENT, 2, width=width, depth=depth)
        self.critic = Residual(2, 1, width=width, depth=depth, waves=2)

    @property
    def calls(self) -> int:
        return 1

    def latent(self, count: int, generator: torch.Generator) -> Tensor:
        """Unit normals for the generator network."""
        return torch.randn(count, LATENT, generator=generator)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        out: Tensor = self.generator(self.latent(count, generator))
        return out

    def log_likelihood(self, x: Tensor) -> None:
        return None


def score_and_slope(critic: Residual, x: Tensor) -> tuple[Tensor, Tensor]:
    """The critic's output at x (B, 2), and the squared norm (B,) of its gradient there."""
    x = x.detach().requires_grad_()
    score: Tensor = critic(x)
    (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return score, slope.square().sum(1)


def critic_loss(critic: Residual, real: Tensor, fake: Tensor, loss: Loss, penalty: float, between: Tensor) -> Tensor:
    """The loss of the critic; `between` (B, 1) in 0..1 places the points of WGAN-GP's gradient penalty."""
    if loss == "r1":
        score, slope = score_and_slope(critic, real)
        return F.softplus(-score).mean() + F.softplus(critic(fake)).mean() + penalty / 2 * slope.mean()
    distance: Tensor = critic(fake).mean() - critic(real).mean()
    _, slope = score_and_slope(critic, between * real + (1 - between) * fake)
    return distance + penalty * (slope.sqrt() - 1).square().mean()


def generator_loss(critic: Residual, fake: Tensor, loss: Loss) -> Tensor:
    """The loss of the generator."""
    score: Tensor = critic(fake)
    return F.softplus(-score).mean() if loss == "r1" else -score.mean()


def training(
    shape: Shape, how: Training, seed: int, *, loss: Loss = "r1", penalty: float = 0.1
) -> Iterator[Update[Gan]]:
    """Each update is a step of the critic and one of the generator; the reported loss is the critic's."""
    model = seeded(Gan, seed)
    data, noise = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    critics, generators = optimiser(model.critic, how), optimiser(model.generator, how)
    averaged = Averaged(model)
    for step in range(1, how.steps + 1):
        real, _ = shape.draw(how.batch, data)
        fake = model.generator(model.latent(how.batch, noise))
        between = torch.rand(how.batch, 1, generator=noise)
        value = critic_loss(model.critic, real, fake.detach(), loss, penalty, between)
        descend(critics, value, how, step)
        descend(generators, generator_loss(model.critic, fake, loss), how, step)
        yield Update(step, float(value.detach()), averaged.follow(model, step))


FAMILY = Family(name="gan", title="GAN", training=training, how=Training(steps=880, lr=0.003, momentum=0.0))
VARIANTS: Mapping[str, Family] = {
    "r1": FAMILY,
    "wgan_gp": variant(FAMILY, partial(training, loss="wgan_gp"), steps=810),
}
