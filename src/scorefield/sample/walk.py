"""The walk along the levels, which all samplers share; each supplies two functions, `evaluate` and `advance`."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level, Number
from scorefield.core.noise import Noise
from scorefield.errors import MachineError

_SAME = 1e-14  # levels whose alpha / sigma differ by less may have the same lam, and a step between them no length


class Step(NamedTuple):
    """One level of a walk: the state there, and the denoiser's estimate of the clean picture.

    i = 0..n; step n is the result, and its x0 is its x. Tensors are (B, ...).
    """

    i: int
    n: int
    at: Level
    x: Tensor
    x0: Tensor


class Sampler(Protocol):
    """A sampler: from the state `x` (B, ...) at levels[0], a Step for each level; it may have further options.

    `levels` are scalars from noisy to clean; the first may be pure noise (alpha = 0), the last clean (sigma = 0).
    `noise` gives the unit normals; samplers that add none ignore it.
    """

    def __call__(self, denoise: Denoise, x: Tensor, levels: Sequence[Level], noise: Noise) -> Iterator[Step]: ...


History = Sequence[Step]  # the steps so far, newest last
Evaluate = Callable[[History, Tensor, Level], tuple[Level, Tensor, Tensor]]  # history, x, at -> level, x and x0 there
Advance = Callable[[History, Level], Tensor]  # history, next level -> the state there


class Reach(NamedTuple):
    """The longest step in lam that a method may take: over longer ones, extrapolation does more harm than good.

    All bounds are measured (docs/loop.md). Stable Diffusion's Karras levels are within them from 6 steps on, so
    samplers of order 2 then equal those of other programs.
    """

    clean: float  # from a level with more picture than noise
    noisy: float  # from one with more noise

    def holds(self, at: Level, to: Level) -> bool:
        """Whether the step is short enough; never from pure noise nor to the clean end."""
        length = float(to.lam - at.lam)
        return math.isfinite(length) and length <= (self.noisy if at.lam < 0 else self.clean)


ANY_STEP = Reach(clean=math.inf, noisy=math.inf)  # every step between finite levels, as published
TWO_STEPS = Reach(clean=1.8, noisy=1.25)  # of a line through the last two predictions


def denoise_once(denoise: Denoise) -> Evaluate:
    """The `Evaluate` of most samplers: denoise the state once, unchanged."""
    return lambda _, x, at: (at, x, denoise(x, at))


def walk(
    evaluate: Evaluate, advance: Advance, x: Tensor, levels: Sequence[Level], *, past: History = (), memory: int = 1
) -> Iterator[Step]:
    """Walk from levels[0] to levels[-1]; `advance` sees the last `memory` steps, at first those of `past`.

    ValueError, at the call and not at the first step, if no walk can follow these levels.
    """
    return _steps(evaluate, advance, x, _checked(levels), deque(past, maxlen=memory))


def _steps(
    evaluate: Evaluate, advance: Advance, x: Tensor, levels: list[Level], history: deque[Step]
) -> Iterator[Step]:
    n = len(levels) - 1
    for i, (here, to) in enumerate(pairwise(levels)):
        at, x, x0 = evaluate(history, x, here)
        history.append(Step(i, n, at, x, x0))
        yield history[-1]
        x = advance(history, to)
    yield Step(n, n, levels[-1], x, x)


def recent(history: History, most: int, to: Level | None = None, reach: Reach = TWO_STEPS) -> list[Step]:
    """The last steps, newest first, that a polynomial in lam can interpolate: at least one, at most `most`.

    A level of pure noise has no finite lam, so it and the steps before it are left out, unless it is the last step. If
    the step to the next level, `to`, is beyond `reach`, only the last step is returned.
    """
    steps = [history[-1]]
    if to is not None and not reach.holds(steps[0].at, to):
        return steps
    for step in list(history)[-2::-1]:
        if len(steps) == most or math.isinf(step.at.lam) or math.isinf(steps[-1].at.lam):
            break
        steps.append(step)
    return steps


def _checked(levels: Sequence[Level]) -> list[Level]:
    plain = [Level(_scalar(at.alpha), _scalar(at.sigma)) for at in levels]
    if len(plain) < 2:
        raise ValueError(f"a walk needs at least two levels, got {len(plain)}")
    for i, at in enumerate(plain):
        if not (math.isfinite(at.alpha + at.sigma) and min(at) >= 0 < max(at)):
            raise ValueError(f"level {i} is {at}: alpha and sigma must be finite, not negative, and not both 0")
    for i, (at, to) in enumerate(pairwise(plain)):
        if at.sigma == 0:
            raise ValueError(f"level {i} of {len(plain) - 1} is clean (sigma = 0): only the last one may be")
        if math.isclose(at.alpha * to.sigma, to.alpha * at.sigma, rel_tol=_SAME):
            raise ValueError(f"levels {i} and {i + 1} are the same noise level: {at} and {to}")
    return plain


def _scalar(value: Number) -> float:
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"a sampler's levels are scalars, got a tensor of shape {tuple(value.shape)}")
    return float(value)


class NonFiniteError(MachineError, ArithmeticError):
    """A walk met NaN or infinity; the message names the step, the level, the tensor and the samples of the batch."""


def finite(steps: Iterator[Step]) -> Iterator[Step]:
    """The same steps; NonFiniteError at the first whose x or x0 (B, ...) is not finite."""
    for step in steps:
        for name, value in (("x, the state", step.x), ("x0, the prediction", step.x0)):
            if not torch.isfinite(value).all():
                raise NonFiniteError(_report(step, name, value))
        yield step


def _report(step: Step, name: str, value: Tensor) -> str:
    bad = ~torch.isfinite(value).flatten(1)
    samples = bad.any(1).nonzero().flatten().tolist()
    share = 100 * bad[samples].float().mean().item()
    alpha, sigma = step.at
    return (
        f"step {step.i} of {step.n}, alpha = {alpha:.6g}, sigma = {sigma:.6g}, lam = {step.at.lam:.4g}: {name} "
        f"({value.dtype}), is not finite in sample {', '.join(map(str, samples))} of the batch ({share:.3g} % of its "
        "numbers); try another dtype or a lower guidance scale"
    )
