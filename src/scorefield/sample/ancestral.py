"""Samplers that renew part of the noise at each step: DDPM, DDIM and Euler ancestral, by one formula."""

import math
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from scorefield.core.denoiser import Denoise, VarianceDenoise
from scorefield.core.level import Level
from scorefield.core.noise import Noise
from scorefield.sample import formulas
from scorefield.sample.walk import History, Step, denoise_once, walk

Split = Callable[[Level, Level], tuple[float, float]]


def _renewing(denoise: Denoise, x: Tensor, levels: Sequence[Level], noise: Noise, split: Split) -> Iterator[Step]:
    def advance(history: History, to: Level) -> Tensor:
        now = history[-1]
        return formulas.renoise_step(now.x, now.x0, now.at, to, split(now.at, to), noise)

    return walk(denoise_once(denoise), advance, x, levels)


def ddim(denoise: Denoise, x: Tensor, levels: Sequence[Level], noise: Noise, *, eta: float = 0.0) -> Iterator[Step]:
    """DDIM (Song et al. 2021a, eq. 12 and 16); `eta` from 0 (an ODE, Euler's method) to 1 (DDPM)."""
    return _renewing(denoise, x, levels, noise, lambda at, to: formulas.ancestral(at, to, eta))


def euler_ancestral(
    denoise: Denoise, x: Tensor, levels: Sequence[Level], noise: Noise, *, eta: float = 1.0
) -> Iterator[Step]:
    """Euler with ancestral noise, "Euler a" (k-diffusion): the same as DDIM with eta = 1."""
    return ddim(denoise, x, levels, noise, eta=eta)


def ddpm(denoise: Denoise, x: Tensor, levels: Sequence[Level], noise: Noise, *, large: bool = False) -> Iterator[Step]:
    """DDPM (Ho et al. 2020, algorithm 2): each step draws from q(x' | x, x0).

    `large` uses the forward step's variance beta instead of the posterior's (section 3.2 there; "fixed large"). Without
    it, a learned variance lies between the two, for each number of the state.
    """
    if isinstance(denoise, VarianceDenoise) and not large:
        return _learned(denoise, x, levels, noise)
    return _renewing(denoise, x, levels, noise, _large if large else lambda at, to: formulas.ancestral(at, to, 1.0))


def _learned(denoise: VarianceDenoise, x: Tensor, levels: Sequence[Level], noise: Noise) -> Iterator[Step]:
    """DDPM with the variance of Nichol & Dhariwal 2021, eq. 15: geometrically between the posterior's and beta."""
    shares: list[Tensor] = []  # of beta, at the current level

    def evaluate(_: History, x: Tensor, at: Level) -> tuple[Level, Tensor, Tensor]:
        x0, share = denoise.both(x, at)
        shares[:] = [share]
        return at, x, x0

    def advance(history: History, to: Level) -> Tensor:
        now = history[-1]
        kept, small = formulas.ancestral(now.at, to, 1.0)
        landed = formulas.ddim_step(now.x, now.x0, now.at, Level(to.alpha, kept))
        if not small:
            return landed
        fresh = small * (_large(now.at, to)[1] / small) ** shares[0]
        return landed + fresh * noise(now.at, to)

    return walk(evaluate, advance, x, levels)


def _large(at: Level, to: Level) -> tuple[float, float]:
    kept, fresh = formulas.ancestral(at, to, 1.0)
    if not fresh:
        return kept, fresh
    scale, scale_to = math.hypot(at.alpha, at.sigma), math.hypot(to.alpha, to.sigma)
    return kept, fresh * float(at.sigma / scale) / float(to.sigma / scale_to)  # sigma / scale is the VP gauge's sigma
