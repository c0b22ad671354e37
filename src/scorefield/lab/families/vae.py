"""A variational autoencoder: points to a code of two numbers and back, with the code held near a unit normal.

The decoder gives the mean and spread of a code's point; the encoder gives the codes that a point may have. They are
trained to maximise the evidence lower bound, log p(x) >= E[log p(x | code)] - KL(code | N(0, 1)) (Kingma & Welling
2014). A sample is one call of the decoder, with its spread. The reported log-likelihood is the importance-weighted
bound (Burda et al. 2016). Two spreads of the decoder were tried: one learned for all codes, and one for each code.
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

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
from scorefield.lab.families.likelihood import normal
from scorefield.lab.families.network import Residual

LATENT = 2
SURE = -2.0  # initial log spread of the decoder: starting from a wide one, it learns to ignore the code
WEIGHED = 64  # codes per point for the importance-weighted bound


class Vae(Model):
    """Encoder and decoder; with `own` every code has its own spread, otherwise all share a learned one."""

    likelihood: ClassVar[Likelihood] = "bound"

    def __init__(self, *, own: bool, width: int = 79, depth: int = 2) -> None:
        super().__init__()
        self.own = own
        self.encoder = Residual(2, 2 * LATENT, width=width, depth=depth, waves=3)
        self.decoder = Residual(LATENT, 4 if own else 2, width=width, depth=depth, waves=3)
        self.spread = None if own else nn.Parameter(torch.full((2,), SURE))
        if own:
            nn.init.constant_(self.decoder.last.bias[2:], SURE)

    @property
    def calls(self) -> int:
        return 1

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log deviation (B, 2) of the codes of x (B, 2)."""
        mean, log_deviation = self.encoder(x).chunk(2, dim=-1)
        return mean, log_deviation.clamp(-9, 4)

    def decode(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log deviation (B, 2) of the points of codes (B, 2)."""
        out: Tensor = self.decoder(code)
        mean, log_deviation = out.chunk(2, dim=-1) if self.spread is None else (out, self.spread.expand_as(out))
        # No spread below 1/400: for points without spread the density would be unbounded.
        return mean, log_deviation.clamp(-6, 2)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        mean, log_deviation = self.decode(torch.randn(count, LATENT, generator=generator))
        return mean + log_deviation.exp() * torch.randn(count, 2, generator=generator)

    @torch.no_grad()
    def log_likelihood(self, x: Tensor) -> Tensor:
        noise = torch.Generator().manual_seed(0)  # the bound is a mean over codes, the same in every call
        weights = [self.weight(x, noise) for _ in range(WEIGHED)]
        return torch.stack(weights).logsumexp(0) - math.log(WEIGHED)

    def weight(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """log p(x, code) - log q(code | x) for one code each, (B,): its mean is the evidence lower bound."""
        mean, log_deviation = self.encode(x)
        z = torch.randn(mean.shape, generator=generator)
        code = mean + log_deviation.exp() * z
        where, spread = self.decode(code)
        seen = normal((x - where) / spread.exp()) - spread.sum(1)
        return seen + normal(code) - normal(z) + log_deviation.sum(1)


def loss(model: Vae, x0: Tensor, generator: torch.Generator) -> Tensor:
    """The negative evidence lower bound, with the divergence of the codes in closed form."""
    mean, log_deviation = model.encode(x0)
    code = mean + log_deviation.exp() * torch.randn(mean.shape, generator=generator)
    where, spread = model.decode(code)
    seen = normal((x0 - where) / spread.exp()) - spread.sum(1)
    divergence = 0.5 * (mean.square() + (2 * log_deviation).exp() - 1 - 2 * log_deviation).sum(1)
    return (divergence - seen).mean()


def training(shape: Shape, how: Training, seed: int, *, own: bool = False) -> Iterator[Update[Vae]]:
    """Train by maximising the evidence lower bound."""
    return minimise(seeded(lambda: Vae(own=own), seed), loss, shape, how, seed)


FAMILY = Family(name="vae", title="VAE", training=training, how=Training(steps=1700, lr=0.03))
VARIANTS: Mapping[str, Family] = {
    "own_spread": variant(FAMILY, partial(training, own=True), steps=1700),
    "one_spread": FAMILY,
}
