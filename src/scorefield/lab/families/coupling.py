"""A normalising flow of coupling layers: a chain of invertible maps between data and a unit normal.

Each layer rotates the plane by a learned angle, then bends one coordinate by a monotone function that a network chooses
from the other. Such a map is inverted layer by layer, and its change of volume is a product of slopes. So the
log-likelihood is exact, and a sample takes one pass. Two bends were tried: a factor and a shift (Real NVP, Dinh et al.
2017), and a monotone rational-quadratic spline (Durkan et al. 2019).
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
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
from scorefield.lab.families.network import Residual, quiet

Bend = Literal["affine", "spline"]
BINS = 16
REACH = 4.0  # a spline changes the coordinate within -REACH..REACH, and is the identity outside
LEAST = 1e-3  # least share of the range for a bin, and least slope at a knot
LAYERS = {"affine": (8, 54), "spline": (4, 60)}  # and the widths of their networks, for the same number of parameters


class Coupling(nn.Module):
    """One layer on points (B, 2): a rotation, then a map of the second coordinate that depends on the first."""

    def __init__(self, bend: Bend, width: int) -> None:
        super().__init__()
        self.bend = bend
        self.angle = nn.Parameter(torch.tensor(math.pi / 2))  # initially the coordinates alternate
        self.net = quiet(Residual(1, 2 if bend == "affine" else 3 * BINS - 1, width=width, depth=1, waves=3))

    def turned(self, x: Tensor, sign: int) -> Tensor:
        """Rotate x (B, 2) by the angle, or back."""
        cos, sin = self.angle.cos(), sign * self.angle.sin()
        return torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], 1)

    def bent(self, given: Tensor, value: Tensor, back: bool) -> tuple[Tensor, Tensor]:
        """Apply the map or its inverse to the coordinate `value` (B,); returns it and the log slope (B,)."""
        outputs: Tensor = self.net(given[:, None])
        if self.bend == "spline":
            return spline(value, outputs, back)
        log_slope, shift = 2 * torch.tanh(outputs[:, 0] / 2), outputs[:, 1]
        if back:
            return (value - shift) * (-log_slope).exp(), -log_slope
        return value * log_slope.exp() + shift, log_slope

    def forward(self, x: Tensor, back: bool = False) -> tuple[Tensor, Tensor]:
        """Map towards the normal, or `back` towards the data: points (B, 2) and log change of volume (B,)."""
        given, value = (x if back else self.turned(x, 1)).T
        value, log_slope = self.bent(given, value, back)
        bent = torch.stack([given, value], 1)
        return (self.turned(bent, -1) if back else bent), log_slope


def knots(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places and heights of the knots and the slopes there, (B, BINS + 1) each, from `outputs` (B, 3 BINS - 1)."""
    widths, heights, slopes = outputs[:, :BINS], outputs[:, BINS : 2 * BINS], outputs[:, 2 * BINS :]
    places = [
        REACH * (2 * F.pad((LEAST + (1 - LEAST * BINS) * one.softmax(1)).cumsum(1), (1, 0)) - 1)
        for one in (widths, heights)
    ]
    level = math.log(math.expm1(1 - LEAST))  # zero outputs are the identity
    return places[0], places[1], F.pad(LEAST + F.softplus(slopes + level), (1, 1), value=1.0)


def spline(value: Tensor, outputs: Tensor, back: bool) -> tuple[Tensor, Tensor]:
    """The monotone rational-quadratic spline of Durkan et al. (eq. 4 to 8) at value (B,), and its log slope (B,).

    `back` returns the inverse and its log slope.
    """
    places, heights, slopes = knots(outputs)
    inside = value.abs() < REACH
    held = value.clamp(-REACH, REACH)
    found = heights if back else places
    bin_ = (torch.searchsorted(found.detach(), held[:, None].detach(), right=True) - 1).clamp(0, BINS - 1)
    left, right = (torch.cat([one.gather(1, bin_ + k) for one in (places, heights, slopes)], 1).T for k in (0, 1))
    width, height, rise = right[0] - left[0], right[1] - left[1], (right[1] - left[1]) / (right[0] - left[0])
    bow = left[2] + right[2] - 2 * rise
    if back:
        above = held - left[1]
        a = height * (rise - left[2]) + above * bow
        b = height * left[2] - above * bow
        share = 2 * rise * above / (b + (b.square() + 4 * a * rise * above).clamp(min=0).sqrt())
    else:
        share = (held - left[0]) / width
    rest = share * (1 - share)
    below = rise + bow * rest
    slope = rise.square() * (right[2] * share.square() + 2 * rise * rest + left[2] * (1 - share).square())
    log_slope = slope.log() - 2 * below.log()
    landed = left[0] + share * width if back else left[1] + height * (rise * share.square() + left[2] * rest) / below
    return torch.where(inside, landed, value), torch.where(inside, -log_slope if back else log_slope, 0.0)


class Flow(Model):
    """A chain of coupling layers."""

    likelihood: ClassVar[Likelihood] = "exact"

    def __init__(self, *, bend: Bend) -> None:
        super().__init__()
        count, width = LAYERS[bend]
        self.layers = nn.ModuleList(Coupling(bend, width) for _ in range(count))

    @property
    def calls(self) -> int:
        return len(self.layers)

    def to_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The images of points (B, 2) under all layers, and the log change of volume (B,)."""
        volume = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_slope = layer(x)
            volume = volume + log_slope
        return x, volume

    def to_data(self, z: Tensor) -> Tensor:
        """The points (B, 2) that `to_noise` maps to z."""
        for layer in reversed(self.layers):
            z, _ = layer(z, back=True)
        return z

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        return self.to_data(torch.randn(count, 2, generator=generator))

    def log_likelihood(self, x: Tensor) -> Tensor:
        z, volume = self.to_noise(x)
        return normal(z) + volume


def loss(model: Flow, x0: Tensor, generator: torch.Generator) -> Tensor:
    """The negative log-likelihood; it uses no noise."""
    return -model.log_likelihood(x0).mean()


def training(shape: Shape, how: Training, seed: int, *, bend: Bend = "spline") -> Iterator[Update[Flow]]:
    """Train by maximum likelihood."""
    return minimise(seeded(lambda: Flow(bend=bend), seed), loss, shape, how, seed)


FAMILY = Family(name="coupling", title="normalising flow", training=training, how=Training(steps=550, lr=0.01))
VARIANTS: Mapping[str, Family] = {
    "spline": FAMILY,
    "affine": variant(FAMILY, partial(training, bend="affine"), steps=665),
}
