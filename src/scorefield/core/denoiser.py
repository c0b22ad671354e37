"""The one contract of a trained model: (x, level, cond) -> x0."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from scorefield.core.clock import Clock
from scorefield.core.cond import Cond
from scorefield.core.level import Level, per_sample
from scorefield.core.predict import Prediction

Denoise = Callable[[Tensor, Level], Tensor]  # a Denoiser with its condition bound: all that samplers and guides see


class Denoiser(Protocol):
    """A trained model, gauge-free: (B, ...) float32 state -> x0, same shape."""

    def __call__(self, x: Tensor, at: Level, cond: Cond) -> Tensor: ...


def bind(denoiser: Denoiser, cond: Cond) -> Denoise:
    """The denoiser for one condition."""
    return lambda x, at: denoiser(x, at, cond)


class Preconditioned(nn.Module):
    """A network with its prediction and clock; the only place that casts dtype.

    `net(x, time, **fields of cond)`: x (B, ...), time (B,), both in the network's dtype but time in float32.
    """

    def __init__(self, net: nn.Module, prediction: Prediction, clock: Clock) -> None:
        super().__init__()
        self.net, self.prediction, self.clock = net, prediction, clock

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the network runs in."""
        return next(self.net.parameters()).dtype

    def raw(self, x: Tensor, at: Level, cond: Cond) -> Tensor:
        """The network's own output F(c_in * x), float32."""
        scales = self.prediction(at)
        time = self.clock(at.lam).to(x.device).expand(len(x))
        given = {n: t.to(self.dtype) if t.is_floating_point() else t for n, t in cond.given().items()}
        out: Tensor = self.net((per_sample(scales.c_in, x) * x).to(self.dtype), time, **given)
        return out.float()

    def forward(self, x: Tensor, at: Level, cond: Cond) -> Tensor:
        """x0 for state `x` (B, ...) float32 at level `at`."""
        scales = self.prediction(at)
        return per_sample(scales.c_skip, x) * x + per_sample(scales.c_out, x) * self.raw(x, at, cond)
