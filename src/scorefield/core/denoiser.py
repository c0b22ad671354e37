"""The one contract of a trained model: (x, level, cond) -> x0."""

import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from scorefield.core.clock import Clock
from scorefield.core.cond import Cond
from scorefield.core.half_precision import HALVES, HalfPrecisionWarning, Rows, dtype_of, repaired
from scorefield.core.level import Level, Number, per_sample
from scorefield.core.predict import Prediction

Denoise = Callable[[Tensor, Level], Tensor]  # a Denoiser with its condition bound: all that samplers and guides see


class Denoiser(Protocol):
    """A trained model that takes a level of any gauge: (B, ...) float32 state -> x0, same shape."""

    def __call__(self, x: Tensor, at: Level, cond: Cond) -> Tensor: ...


def bind(denoiser: Denoiser, cond: Cond) -> Denoise:
    """`denoiser` with its condition held fixed."""
    return lambda x, at: denoiser(x, at, cond)


class Preconditioned(nn.Module):
    """A network with its prediction and clock: a Denoiser, and the only place that casts dtype.

    It calls `net(x, time, **fields of cond)` with x (B, ...) in the network's dtype and time (B,) in float32.
    """

    def __init__(self, net: nn.Module, prediction: Prediction, clock: Clock) -> None:
        super().__init__()
        self.net, self.prediction, self.clock = net, prediction, clock

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the network runs in."""
        return dtype_of(self.net)

    def raw(self, x: Tensor, at: Level, cond: Cond) -> Tensor:
        """The network's own output F(c_in * x), float32."""
        scales = self.prediction(at)
        time = self.clock(at.lam).to(x.device).expand(len(x))
        fields = {n: t.to(self.dtype) if t.is_floating_point() else t for n, t in cond.tensors().items()}
        out: Tensor = self.net((per_sample(scales.c_in, x) * x).to(self.dtype), time, **fields)
        return out.float()

    def forward(self, x: Tensor, at: Level, cond: Cond) -> Tensor:
        """x0 for state `x` (B, ...) float32 at level `at`."""
        scales = self.prediction(at)
        return per_sample(scales.c_skip, x) * x + per_sample(scales.c_out, x) * self.raw(x, at, cond)


def steady(denoiser: Preconditioned, levels: Sequence[Level]) -> Denoiser:
    """`denoiser` for one walk along `levels`, where samples that are not finite in half precision run again in float32.

    The first time in the walk is a HalfPrecisionWarning that names the step, the level and the dtype.
    """
    if denoiser.dtype not in HALVES:
        return denoiser
    warned: list[str] = []

    def repairing(x: Tensor, at: Level, cond: Cond) -> Tensor:
        def run(net: nn.Module, rows: Rows) -> Tensor:
            one = Preconditioned(net, denoiser.prediction, denoiser.clock)
            level = Level(_rows_of(at.alpha, rows), _rows_of(at.sigma, rows))
            x0: Tensor = one(x[rows], level, cond.map(lambda value: value[rows]))
            return x0

        def warn(what: str) -> None:
            if not warned:
                warned.append(f"{_step_at(at, levels)}: the network's answer {what}")
                warnings.warn(warned[0], HalfPrecisionWarning, stacklevel=2)

        return repaired(run, denoiser.net, warn)

    return repairing


def _rows_of(value: Number, rows: Rows) -> Number:
    return value[rows] if isinstance(value, Tensor) and value.ndim else value


def _step_at(at: Level, levels: Sequence[Level]) -> str:
    """Which step of the walk a level belongs to, and its lam, in words."""
    lam = float(torch.as_tensor(at.lam).min())
    i = max(0, bisect_right([float(level.lam) for level in levels], lam + 1e-6) - 1)
    return f"step {i} of {len(levels) - 1}, lam = {lam:.4g}"
