"""The DPM-Solver++ family (Lu et al. 2022b): exponential steps with one prediction for the whole step.

The SDE solvers add noise as published: eta = 0 is the ODE, eta = 1 the reverse SDE.
"""

import functools
import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.core.noise import Noise
from scorefield.sample import formulas
from scorefield.sample.walk import ANY_STEP, TWO_STEPS, History, Reach, Step, denoise_once, recent, walk

THREE_STEPS = Reach(clean=1.0, noisy=0.7)  # of a parabola through the last three predictions


def dpmpp_2m(
    denoise: Denoise,
    x: Tensor,
    levels: Sequence[Level],
    noise: Noise,
    *,
    kind: formulas.Kind = "midpoint",
    lower_order_long: bool = True,
) -> Iterator[Step]:
    """DPM-Solver++(2M), order 2 with one evaluation (Lu et al. 2022b, algorithm 2). The same in every gauge.

    `lower_order_long` makes the order 1 in steps beyond TWO_STEPS.
    """
    return dpmpp_2m_sde(denoise, x, levels, noise, eta=0.0, kind=kind, lower_order_long=lower_order_long)


def dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    levels: Sequence[Level],
    noise: Noise,
    *,
    eta: float = 1.0,
    kind: formulas.Kind = "midpoint",
    lower_order_long: bool = True,
) -> Iterator[Step]:
    """DPM-Solver++(2M) SDE: the same prediction, with noise drawn for each interval (k-diffusion; Lu et al. 2022b).

    `lower_order_long` as in `dpmpp_2m`.
    """
    return _multistep(denoise, x, levels, noise, order=2, eta=eta, kind=kind, lower_order_long=lower_order_long)


def dpmpp_3m_sde(
    denoise: Denoise,
    x: Tensor,
    levels: Sequence[Level],
    noise: Noise,
    *,
    eta: float = 1.0,
    lower_order_long: bool = True,
) -> Iterator[Step]:
    """DPM-Solver++(3M) SDE: from the last three predictions, or as many as there are (k-diffusion).

    With `lower_order_long`, a step beyond THREE_STEPS uses two, since the error of extrapolation grows fastest with the
    third, and one beyond TWO_STEPS uses one.
    """
    return _multistep(denoise, x, levels, noise, order=3, eta=eta, kind="heun", lower_order_long=lower_order_long)


def _multistep(
    denoise: Denoise,
    x: Tensor,
    levels: Sequence[Level],
    noise: Noise,
    *,
    order: int,
    eta: float,
    kind: formulas.Kind,
    lower_order_long: bool,
) -> Iterator[Step]:
    two, three = (TWO_STEPS, THREE_STEPS) if lower_order_long else (ANY_STEP, ANY_STEP)

    def advance(history: History, to: Level) -> Tensor:
        now = history[-1]
        steps = recent(history, order if three.holds(now.at, to) else 2, to, two)
        x0s, lams = [step.x0 for step in steps], [float(step.at.lam) for step in steps]
        if len(steps) == 1:
            x0 = now.x0
        elif len(steps) == 2:
            x0 = formulas.second(x0s, lams, float(to.lam), eta, kind)
        else:
            x0 = formulas.third(x0s, lams, float(to.lam), eta)
        return formulas.renoise_step(now.x, x0, now.at, to, formulas.reverse_sde(now.at, to, eta), noise)

    return walk(denoise_once(denoise), advance, x, levels, memory=order)


def dpmpp_sde(
    denoise: Denoise, x: Tensor, levels: Sequence[Level], noise: Noise, *, eta: float = 1.0, r: float = 0.5
) -> Iterator[Step]:
    """DPM-Solver++(2S) with ancestral noise, two evaluations: here and at lam + r h, 0 < r < 1 (k-diffusion).

    Noise is drawn for each half of the step; the whole step gets both, as increments of one Brownian motion. A step
    from alpha = 0 or to sigma = 0 has no middle and takes one evaluation.
    """

    def advance(history: History, to: Level) -> Tensor:
        now = history[-1]
        split = formulas.ancestral(now.at, to, eta)
        if math.isinf(formulas.gap(now.at, to)):
            return formulas.renoise_step(now.x, now.x0, now.at, to, split, noise)
        middle = formulas.between(now.at, to, r)
        once = functools.cache(noise)

        def both(at: Level, to: Level) -> Tensor:
            return formulas.joined(once(at, middle), once(middle, to), at, middle, to)

        there = formulas.renoise_step(now.x, now.x0, now.at, middle, formulas.ancestral(now.at, middle, eta), once)
        x0 = now.x0 + (denoise(there, middle) - now.x0) / (2 * r)
        return formulas.renoise_step(now.x, x0, now.at, to, split, both)

    return walk(denoise_once(denoise), advance, x, levels)
