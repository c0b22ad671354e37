"""Linear multistep: Adams-Bashforth of order 4 in the noise."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level, eps_of
from scorefield.core.noise import Noise
from scorefield.errors import RequestError
from scorefield.sample import formulas
from scorefield.sample.walk import History, Step, denoise_once, recent, walk


def lms(
    denoise: Denoise, x: Tensor, levels: Sequence[Level], noise: Noise, *, order: int = 4, past: History = ()
) -> Iterator[Step]:
    """Adams-Bashforth on d(x/alpha) = eps d(sigma/alpha), the same in every gauge (k-diffusion's LMS).

    `order` is 1 to 4, else RequestError. It starts with Euler and lower orders, which leaves order 2 overall; with
    exact steps before levels[0] as `past` it has the full order.
    """
    if not 1 <= order <= 4:
        raise RequestError(f"lms has orders 1 to 4, got {order}")

    def advance(history: History, to: Level) -> Tensor:
        now, *earlier = steps = recent(history, order)
        x = formulas.ddim_step(now.x, now.x0, now.at, to)
        weights = formulas.adams([math.exp(-step.at.lam) for step in steps], math.exp(-to.lam)) if earlier else []
        eps = eps_of(now.x, now.x0, now.at)
        for weight, step in zip(weights[1:], earlier, strict=True):
            x = x + float(to.alpha) * weight * (eps_of(step.x, step.x0, step.at) - eps)
        return x

    return walk(denoise_once(denoise), advance, x, levels, past=past, memory=order)
