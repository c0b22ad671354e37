"""The convergence of samplers to the exact solution of their equation."""

import functools
import inspect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.sample.samplers import SamplerRecord
from scorefield.sample.unipc import unipc
from scorefield.sample.walk import Sampler

NOISY, CLEAN = -2.5, 2.0  # the range of lam: from a round cloud to one with the shape of the data
FITTED = 3  # the largest numbers of steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The error of a sampler, or the distance of its samples to data, by number of model calls."""

    record: SamplerRecord
    calls: Sequence[int]
    values: Sequence[float]

    @property
    def order(self) -> float:
        """The slope at which log value falls with log calls, by least squares over the last points."""
        calls, values = (torch.tensor(one[-FITTED:], dtype=torch.float64).log() for one in (self.calls, self.values))
        calls = calls - calls.mean()
        return -float(calls @ values / calls.square().sum())

    def needs(self, value: float) -> float:
        """The number of calls from which the curve stays at or below `value`, interpolated in logarithms.

        The first number if the curve is never above; the last, meaning "at least", if it ends above.
        """
        above = [k for k, one in enumerate(self.values) if one > value]
        if not above:
            return float(self.calls[0])
        if (k := above[-1]) == len(self.values) - 1:
            return float(self.calls[-1])
        share = math.log(self.values[k] / value) / math.log(self.values[k] / self.values[k + 1])
        return math.exp((1 - share) * math.log(self.calls[k]) + share * math.log(self.calls[k + 1]))

    def is_that_of(self, other: "Line") -> bool:
        """Whether the two are the same method under two names."""
        pairs = zip(self.values, other.values, strict=True)
        return self.calls == other.calls and all(math.isclose(*pair, rel_tol=1e-3) for pair in pairs)


def joined(lines: Iterable[Line]) -> list[list[Line]]:
    """The curves, grouped by those that coincide."""
    groups: list[list[Line]] = []
    for line in lines:
        group = next((group for group in groups if group[0].is_that_of(line)), None)
        if group:
            group.append(line)
        else:
            groups.append([line])
    return groups


def ode(record: SamplerRecord) -> Sampler | None:
    """The sampler without noise; None if it always draws noise."""
    if "eta" in inspect.signature(record.sampler).parameters:
        return functools.partial(record.sampler, eta=0.0)  # type: ignore[call-arg]
    return None if record.stochastic else record.sampler


def end(sampler: Sampler, denoise: Denoise, x: Tensor, steps: int) -> Tensor:
    """The end, at CLEAN, of the walk from x (B, ...) at NOISY in equal steps of lam; ValueError if it draws noise."""
    path = [gauge.vp(NOISY + (CLEAN - NOISY) * k / steps) for k in range(steps + 1)]
    *_, last = sampler(denoise, x, path, no_noise)
    return last.x


def no_noise(at: Level, to: Level) -> Tensor:
    """The noise of a deterministic walk: ValueError if it is used."""
    raise ValueError(f"noise was drawn between {at} and {to}, in a walk without noise")


def exact(denoise: Denoise, x: Tensor, steps: int) -> tuple[Tensor, float]:
    """The solution at CLEAN by UniPC of order 3, and a bound on its error: its distance to that in half the steps."""
    third = functools.partial(unipc, order=3, lower_order_final=False, lower_order_long=False)
    solution = end(third, denoise, x, steps)
    return solution, rms(solution - end(third, denoise, x, steps // 2))


def errors(record: SamplerRecord, denoise: Denoise, x: Tensor, solution: Tensor, counts: Sequence[int]) -> Line:
    """The errors of a sampler without noise in those numbers of steps; ValueError if it has no such mode."""
    sampler = ode(record)
    if sampler is None:
        raise ValueError(f"{record.name} always draws noise, so it has no exact solution")
    values = [rms(end(sampler, denoise, x, steps) - solution) for steps in counts]
    return Line(record=record, calls=[record.evaluations * steps for steps in counts], values=values)


def rms(value: Tensor) -> float:
    """Root mean square."""
    return float(value.square().mean().sqrt())
