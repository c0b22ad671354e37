"""UniPC: a predictor and a corrector that share their evaluations (Zhao et al. 2023)."""

import math
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.core.noise import Noise
from scorefield.errors import RequestError
from scorefield.sample import formulas
from scorefield.sample.walk import ANY_STEP, TWO_STEPS, Evaluate, History, Step, recent, walk


def unipc(
    denoise: Denoise,
    x: Tensor,
    levels: Sequence[Level],
    noise: Noise,
    *,
    order: int = 2,
    kind: formulas.Basis = "bh2",
    lower_order_final: bool = True,
    lower_order_long: bool = True,
) -> Iterator[Step]:
    """UniPC-p with data prediction, one evaluation per step (Zhao et al. 2023, algorithms 1 and 2).

    A step's x is the corrected state; its x0 was predicted from the uncorrected one. `order` p is 1 to 3, else
    RequestError. `lower_order_final` lowers it to 1 over the last p steps, as published, and `lower_order_long` to 1 in
    steps beyond TWO_STEPS.
    """
    if not 1 <= order <= 3:
        raise RequestError(f"unipc has orders 1 to 3, got {order}")

    reach = TWO_STEPS if lower_order_long else ANY_STEP

    def bases(history: History, to: Level) -> list[Step]:
        now = history[-1]
        return recent(history, min(order, now.n - now.i) if lower_order_final else order, to, reach)

    def advance(history: History, to: Level) -> Tensor:
        now, *_ = steps = bases(history, to)
        x0s, lams = [step.x0 for step in steps], [float(step.at.lam) for step in steps]
        return formulas.ddim_step(now.x, formulas.bh(x0s, lams, float(to.lam), kind), now.at, to)

    return walk(_correcting(denoise, bases, kind), advance, x, levels, memory=order)


def _correcting(denoise: Denoise, bases: Callable[[History, Level], list[Step]], kind: formulas.Basis) -> Evaluate:
    def evaluate(history: History, x: Tensor, at: Level) -> tuple[Level, Tensor, Tensor]:
        x0 = denoise(x, at)
        if not history or math.isinf(formulas.gap(history[-1].at, at)):
            return at, x, x0
        before, *_ = steps = bases(history, at)
        x0s = [*(step.x0 for step in steps), x0]
        lams = [*(float(step.at.lam) for step in steps), float(at.lam)]
        return at, formulas.ddim_step(before.x, formulas.bh(x0s, lams, lams[-1], kind), before.at, at), x0

    return evaluate
