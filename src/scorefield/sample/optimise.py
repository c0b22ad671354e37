"""Sampling as optimisation: the predicted noise is a gradient, and any optimiser may follow it."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level, eps_of
from scorefield.core.noise import Noise
from scorefield.errors import RequestError
from scorefield.sample import formulas
from scorefield.sample.walk import Advance, Evaluate, History, Step, walk

MakeOptimiser = Callable[[list[Tensor]], torch.optim.Optimizer]
plain_descent: MakeOptimiser = functools.partial(torch.optim.SGD, lr=1.0)


def optimise(
    denoise: Denoise,
    x: Tensor,
    levels: Sequence[Level],
    noise: Noise,
    *,
    optimiser: MakeOptimiser = plain_descent,
    small: float = 0.0,
) -> Iterator[Step]:
    """Descend along the predicted noise with `optimiser`, a class of torch.optim with its options bound.

    The parameter is x / alpha, its gradient is eps, and the learning rate is the optimiser's own times the step of the
    grid in sigma / alpha. So plain descent at rate 1 is Euler's method. The step from pure noise (alpha = 0), where
    x / alpha is not defined, is always Euler's.

    A sample stops, and keeps its x0, when its predicted noise (the root mean square of x / alpha - x0) is below
    `small`; when all have stopped, the walk jumps to step n. Samples stay independent with elementwise optimisers.
    RequestError for an optimiser that needs a closure (LBFGS).
    """
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    return _until(done, walk(_keeping(done, denoise, small), _descent(done, optimiser), x, levels), levels[-1])


def _until(done: Tensor, steps: Iterator[Step], last: Level) -> Iterator[Step]:
    for step in steps:
        yield step
        if step.i < step.n and done.all():
            x = formulas.ddim_step(step.x, step.x0, step.at, last)
            yield Step(step.n, step.n, last, x, x)
            return


def _keeping(done: Tensor, denoise: Denoise, small: float) -> Evaluate:
    def evaluate(history: History, x: Tensor, at: Level) -> tuple[Level, Tensor, Tensor]:
        x0 = denoise(x, at)
        if history:
            x0 = torch.where(_rows(done, x0), history[-1].x0, x0)
        size = (x - at.alpha * x0).flatten(1).square().mean(1).sqrt()
        done.logical_or_(size < small * at.alpha)
        return at, x, x0

    return evaluate


def _descent(done: Tensor, make: MakeOptimiser) -> Advance:
    started: list[tuple[Tensor, torch.optim.Optimizer, list[float]]] = []

    def start(now: Step) -> tuple[Tensor, torch.optim.Optimizer, list[float]]:
        point = (now.x / now.at.alpha).detach().clone()
        optimiser = make([point])
        if isinstance(optimiser, torch.optim.LBFGS):
            raise RequestError("LBFGS evaluates more than once per step: use an optimiser that needs no closure")
        return point, optimiser, [group["lr"] for group in optimiser.param_groups]

    def advance(history: History, to: Level) -> Tensor:
        now = history[-1]
        x = formulas.ddim_step(now.x, now.x0, now.at, to)
        if math.isinf(now.at.lam):
            return x
        if not started:
            started.append(start(now))
        point, optimiser, rates = started[0]
        point.grad = eps_of(now.x, now.x0, now.at).detach()
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * (math.exp(-now.at.lam) - math.exp(-to.lam))
        optimiser.step()
        return torch.where(_rows(done, x), x, to.alpha * point.detach())

    return advance


def _rows(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (like.ndim - 1))
