"""Single-step ODE samplers: Euler, Heun, DPM-Solver-2; each may churn (Karras et al. 2022, algorithm 2)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level, eps_of
from scorefield.core.noise import Noise
from scorefield.sample import formulas
from scorefield.sample.walk import Evaluate, History, Reach, Step, denoise_once, walk

_REACH = Reach(clean=2.5, noisy=1.25)  # of DPM2


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """The noise to add before each step; sigmas are those of the VE gauge, sigma / alpha.

    The noise must be independent from call to call: churned intervals lie on those of earlier steps.
    """

    amount: float = 0.0  # S_churn, over all steps; a step adds at most sqrt(2) - 1 of its sigma
    low: float = 0.0  # S_tmin: no churn below
    high: float = math.inf  # S_tmax: none above
    scale: float = 1.0  # S_noise


def _churned(denoise: Denoise, noise: Noise, churn: Churn, steps: int) -> Evaluate:
    gamma = min(churn.amount / max(steps, 1), math.sqrt(2) - 1)  # with no steps, `walk` raises the error

    def evaluate(_: History, x: Tensor, at: Level) -> tuple[Level, Tensor, Tensor]:
        if churn.low <= math.exp(-at.lam) <= churn.high:
            hat = Level(at.alpha, at.sigma * (1 + gamma))
            x = x + churn.scale * math.sqrt(hat.sigma**2 - at.sigma**2) * noise(at, hat)
            at = hat
        return at, x, denoise(x, at)

    return evaluate if gamma > 0 else denoise_once(denoise)


def euler(
    denoise: Denoise, x: Tensor, levels: Sequence[Level], noise: Noise, *, churn: Churn = Churn()
) -> Iterator[Step]:
    """Euler's method, order 1: equal to DDIM (eta = 0) in every gauge, and to the flow step."""

    def advance(history: History, to: Level) -> Tensor:
        now = history[-1]
        return formulas.ddim_step(now.x, now.x0, now.at, to)

    return walk(_churned(denoise, noise, churn, len(levels) - 1), advance, x, levels)


def heun(
    denoise: Denoise, x: Tensor, levels: Sequence[Level], noise: Noise, *, churn: Churn = Churn()
) -> Iterator[Step]:
    """Heun's method, order 2 with two evaluations: the trapezoid of dx = x0 d(alpha) + eps d(sigma) in the given gauge.

    In the VE gauge it is Karras et al. 2022, algorithm 2. A step to sigma = 0 is Euler's.
    """

    def advance(history: History, to: Level) -> Tensor:
        now = history[-1]
        x = formulas.ddim_step(now.x, now.x0, now.at, to)
        if to.sigma == 0:
            return x
        x0 = denoise(x, to)
        eps = eps_of(now.x, now.x0, now.at), eps_of(x, x0, to)
        return formulas.trapezoid(now.x, (now.x0, x0), eps, now.at, to)

    return walk(_churned(denoise, noise, churn, len(levels) - 1), advance, x, levels)


def dpm2(
    denoise: Denoise, x: Tensor, levels: Sequence[Level], noise: Noise, *, churn: Churn = Churn()
) -> Iterator[Step]:
    """DPM-Solver-2, order 2 with two evaluations, the second half-way in lam (Lu et al. 2022a, algorithm 1).

    The same in every gauge. A step from alpha = 0 or to sigma = 0 has no middle and is Euler's. A step beyond its reach
    would count the change of x0 at the middle 2 sinh(h / 2) times, so it uses that x0 for the whole step, like
    DPM-Solver++(2S) (Lu et al. 2022b).
    """

    def advance(history: History, to: Level) -> Tensor:
        now = history[-1]
        x, h = formulas.ddim_step(now.x, now.x0, now.at, to), formulas.gap(now.at, to)
        if math.isinf(h):
            return x
        middle = formulas.between(now.at, to, 0.5)
        x_middle = formulas.ddim_step(now.x, now.x0, now.at, middle)
        x0_middle = denoise(x_middle, middle)
        if not _REACH.holds(now.at, to):
            return formulas.ddim_step(now.x, x0_middle, now.at, to)
        change = eps_of(x_middle, x0_middle, middle) - eps_of(now.x, now.x0, now.at)
        return x + float(to.sigma - to.alpha * now.at.sigma / now.at.alpha) * change

    return walk(_churned(denoise, noise, churn, len(levels) - 1), advance, x, levels)
