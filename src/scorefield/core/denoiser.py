"""The one contract of a trained model: (x, level, cond) -> x0."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from scorefield.core.clock import Clock
from scorefield.core.cond import Cond
from scorefield.core.half_precision import Rows, dtype_of, repaired
from scorefield.core.level import Level, Number, per_sample
from scorefield.core.predict import Prediction
from scorefield.notes import HalfPrecisionWarning, note

Denoise = Callable[[Tensor, Level], Tensor]  # a Denoiser with its condition bound: all that samplers and guides see


class Denoiser(Protocol):
    """A trained model that takes a level of any gauge: (B, ...) float32 state -> x0, same shape."""

    def __call__(self, x: Tensor, at: Level, cond: Cond) -> Tensor: ...


@runtime_checkable
class VarianceDenoiser(Protocol):
    """A Denoiser whose network also learned the variance of the ancestral step (Nichol & Dhariwal 2021, eq. 15)."""

    def __call__(self, x: Tensor, at: Level, cond: Cond) -> Tensor: ...
    def both(self, x: Tensor, at: Level, cond: Cond) -> tuple[Tensor, Tensor]:
        """x0 and the share s: the variance is beta^s times the posterior's to the power 1 - s."""


@dataclass(frozen=True, slots=True)
class VarianceDenoise:
    """A Denoise whose network also learned the variance. `ddpm` reads it, and guides pass it on."""

    both: Callable[[Tensor, Level], tuple[Tensor, Tensor]]  # -> x0 and the share, see VarianceDenoiser

    def __call__(self, x: Tensor, at: Level) -> Tensor:
        """x0 alone."""
        return self.both(x, at)[0]


def bind(denoiser: Denoiser, cond: Cond) -> Denoise:
    """`denoiser` with its condition held fixed."""
    if isinstance(denoiser, VarianceDenoiser):
        return VarianceDenoise(lambda x, at: denoiser.both(x, at, cond))
    return lambda x, at: denoiser(x, at, cond)


def changed(denoise: Denoise, change: Callable[[Tensor, Level, Tensor], Tensor]) -> Denoise:
    """`denoise` with `change(x, at, x0)` in place of x0; a learned variance stays."""
    if not isinstance(denoise, VarianceDenoise):
        return lambda x, at: change(x, at, denoise(x, at))

    def both(x: Tensor, at: Level) -> tuple[Tensor, Tensor]:
        x0, share = denoise.both(x, at)
        return change(x, at, x0), share

    return VarianceDenoise(both)


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

    def with_net(self, net: nn.Module) -> Self:
        """The same denoiser with another network."""
        return type(self)(net, self.prediction, self.clock)

    def raw(self, x: Tensor, at: Level, cond: Cond, dtype: torch.dtype | None = None) -> Tensor:
        """The network's output F(c_in * x), float32; its inputs are cast to `dtype`, by default the network's."""
        scales, dtype = self.prediction(at), dtype or self.dtype
        time = self.clock(at.lam).to(x.device).expand(len(x))
        fields = {n: t.to(dtype) if t.is_floating_point() else t for n, t in cond.tensors().items()}
        out: Tensor = self.net((per_sample(scales.c_in, x) * x).to(dtype), time, **fields)
        return out.float()

    def forward(self, x: Tensor, at: Level, cond: Cond, dtype: torch.dtype | None = None) -> Tensor:
        """x0 for state `x` (B, ...) float32 at level `at`."""
        scales = self.prediction(at)
        return per_sample(scales.c_skip, x) * x + per_sample(scales.c_out, x) * self.raw(x, at, cond, dtype)

    def answer(self, x: Tensor, at: Level, cond: Cond, dtype: torch.dtype | None = None) -> Tensor:
        """Everything that the network says about state `x`, as one tensor (B, ...): here x0."""
        x0: Tensor = self(x, at, cond, dtype)
        return x0


class PreconditionedVariance(Preconditioned):
    """A VarianceDenoiser: the network's output (B, 2 C, ...) is its prediction and, from -1 to 1, the variance.

    ADM, GLIDE and the decoder of Karlo have such networks ("learned range").
    """

    def forward(self, x: Tensor, at: Level, cond: Cond, dtype: torch.dtype | None = None) -> Tensor:
        """x0 alone."""
        return self.answer(x, at, cond, dtype).chunk(2, 1)[0]

    def both(self, x: Tensor, at: Level, cond: Cond) -> tuple[Tensor, Tensor]:
        """x0 and the share of log(beta) in the log variance, both (B, C, ...)."""
        x0, share = self.answer(x, at, cond).chunk(2, 1)
        return x0, share

    def answer(self, x: Tensor, at: Level, cond: Cond, dtype: torch.dtype | None = None) -> Tensor:
        """x0 and the share, concatenated on channels."""
        scales = self.prediction(at)
        raw, variance = self.raw(x, at, cond, dtype).chunk(2, 1)
        x0 = per_sample(scales.c_skip, x) * x + per_sample(scales.c_out, x) * raw
        return torch.cat([x0, (variance + 1) / 2], 1)


@dataclass(frozen=True, slots=True)
class _SteadyVariance:
    """A VarianceDenoiser made of a function that gives x0 and the share, concatenated on channels."""

    answer: Denoiser

    def __call__(self, x: Tensor, at: Level, cond: Cond) -> Tensor:
        return self.both(x, at, cond)[0]

    def both(self, x: Tensor, at: Level, cond: Cond) -> tuple[Tensor, Tensor]:
        x0, share = self.answer(x, at, cond).chunk(2, 1)
        return x0, share


def steady(denoiser: Preconditioned, levels: Sequence[Level]) -> Denoiser:
    """`denoiser` for one walk along `levels`: without autocast, and with float32 where half precision fails.

    Samples that are not finite in half precision run again in float32. The first time in the walk, a
    HalfPrecisionWarning names the step, the level and the dtype.
    """
    warned: list[str] = []

    def repairing(x: Tensor, at: Level, cond: Cond) -> Tensor:
        def run(net: nn.Module, rows: Rows, dtype: torch.dtype) -> Tensor:
            level = Level(_rows_of(at.alpha, rows), _rows_of(at.sigma, rows))
            one = denoiser if net is denoiser.net else denoiser.with_net(net)
            return one.answer(x[rows], level, cond[rows], dtype)

        def warn(what: str) -> None:
            if not warned:
                warned.append(f"{_step_at(at, levels)}: the network's answer {what}")
                note(HalfPrecisionWarning, warned[0])

        return repaired(run, denoiser.net, warn)

    return _SteadyVariance(repairing) if isinstance(denoiser, VarianceDenoiser) else repairing


def _rows_of(value: Number, rows: Rows) -> Number:
    return value[rows] if isinstance(value, Tensor) and value.ndim else value


def _step_at(at: Level, levels: Sequence[Level]) -> str:
    """The step of the walk that a level belongs to, and its lam, in words."""
    lam = float(at.lam.min()) if isinstance(at.lam, Tensor) else at.lam
    i = max(0, bisect_right([float(level.lam) for level in levels], lam + 1e-6) - 1)
    return f"step {i} of {len(levels) - 1}, lam = {lam:.4g}"
