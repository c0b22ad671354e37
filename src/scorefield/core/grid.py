"""Schedules: the levels that a walk visits, as lam rising from noise to clean, and their names.

A grid maps a number of steps to steps + 1 values. The first is -inf if the model was trained on pure noise; the last is
+inf (clean) unless `ending_at` changes it. A schedule makes a grid on a model's ladder, so each serves discrete and
flow models.

On a continuous ladder every grid starts on the noisiest rung. Schedules in sigma (karras, exponential, ...) need finite
ends: if the noisiest rung is pure noise, they are laid out from lam = NOISIEST, and then start at -inf instead.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import torch

from scorefield.core.beta_quantile import quantile
from scorefield.core.gauge import Gauge
from scorefield.core.level import Level
from scorefield.core.name_lookup import canonical
from scorefield.core.noise_schedule import Ladder
from scorefield.errors import RequestError

Grid = Callable[[int], list[float]]  # steps -> steps + 1 lams, rising
Schedule = Callable[[Ladder], Grid]

NOISIEST = -5.0  # sigma / alpha = 148 for unit data; EDM's 80 for data of deviation 0.5 is 160


def levels(gauge: Gauge, lams: Sequence[float]) -> list[Level]:
    """The levels at `lams` in `gauge`, ends exact: alpha is 0 at -inf and sigma is 0 at +inf.

    ValueError if lams do not rise strictly, or if the gauge has no finite level of pure noise.
    """
    if len(lams) < 2 or any(not low < high for low, high in pairwise(lams)):
        raise RequestError("a grid needs at least two levels, each cleaner than the one before: ask for fewer steps")
    path = [gauge(lam) for lam in lams]
    if math.isinf(path[0].sigma):
        raise RequestError("this gauge has no level of pure noise (lam = -inf): use the VP or RF gauge")
    return path


def skip_last(grid: Grid) -> Grid:
    """`grid` for one more step, without the level before its end.

    Other programs make their grids for DPM2 and UniPC this way, and diffusers those for DPM-Solver++.
    """

    def skipped(steps: int) -> list[float]:
        _check(steps)
        lams = grid(steps + 1)
        return [*lams[:-2], lams[-1]]

    return skipped


def ending_at(grid: Grid, lam: float) -> Grid:
    """`grid` that ends at `lam` in place of clean (diffusers' set_alpha_to_one=False: lam of rung 0)."""
    return lambda steps: [*grid(steps)[:-1], lam]


def on_rungs(ladder: Ladder, rungs: Callable[[int], list[float]], most: float = math.inf) -> Grid:
    """The grid of `rungs(steps)`, then clean; RequestError for fewer than 1 step or more than `most`."""

    def grid(steps: int) -> list[float]:
        _check(steps, most)
        lams = [ladder.lam(rung) for rung in rungs(steps)]
        return [lams[0] if ladder.whole else ladder.noisiest, *lams[1:], math.inf]

    return grid


def in_lam(ladder: Ladder, curve: Callable[[list[float]], list[float]]) -> Grid:
    """The grid of `curve(shares)`, shares from 0 (noisiest) to 1 (cleanest) in equal parts, then clean."""

    def grid(steps: int) -> list[float]:
        _check(steps)
        lams = curve([k / max(steps - 1, 1) for k in range(steps)])
        return [min(lams[0], ladder.noisiest), *lams[1:], math.inf]

    return grid


def finite_ends(ladder: Ladder) -> tuple[float, float]:
    """lam of the noisiest and of the cleanest rung, pure noise replaced by NOISIEST."""
    return ladder.noisiest if ladder.noisiest > -math.inf else NOISIEST, ladder.cleanest


def _check(steps: int, most: float = math.inf) -> None:
    if steps < 1:
        raise RequestError(f"a grid needs at least 1 step, got {steps}")
    if steps > most:
        raise RequestError(f"this schedule has levels for at most {most:.0f} steps, not {steps}: try normal")


def _most(ladder: Ladder, offset: int = 0) -> float:
    return ladder.count - offset if ladder.whole else math.inf


def trailing(ladder: Ladder) -> Grid:
    """Every (T / steps)-th rung down from the last (Lin et al. 2023, table 2); on a flow, t = 1 - k / steps exactly."""

    def rungs(steps: int) -> list[float]:
        stride = ladder.count - (ladder.count - ladder.count / steps)  # rounds like numpy's arange, ties included
        values = [ladder.count - k * stride for k in range(steps)]
        return [(round(value) if ladder.whole else value) - 1 for value in values]

    return on_rungs(ladder, rungs, _most(ladder))


def leading(ladder: Ladder, offset: int = 0) -> Grid:
    """Every (T // steps)-th rung up from `offset`, as in DDIM and SD 1; omits a whole ladder's noisiest rung."""

    def rungs(steps: int) -> list[float]:
        stride = ladder.count // steps if ladder.whole else ladder.count / steps
        return [float(stride * k + offset) for k in reversed(range(steps))]

    return on_rungs(ladder, rungs, _most(ladder, offset))


def linspace(ladder: Ladder) -> Grid:
    """Rungs from the last to 0 in equal parts, rounded on a whole ladder (diffusers' linspace of DDPM and DDIM)."""

    def rungs(steps: int) -> list[float]:
        values = _even(ladder, steps)
        return [float(round(value)) for value in values] if ladder.whole else values

    return on_rungs(ladder, rungs, _most(ladder))


def normal(ladder: Ladder) -> Grid:
    """Rungs from the last to 0 in equal parts, not rounded (k-diffusion's DiscreteSchedule.get_sigmas)."""
    return on_rungs(ladder, lambda steps: _even(ladder, steps))


def _even(ladder: Ladder, steps: int) -> list[float]:
    stride = (ladder.count - 1) / max(steps - 1, 1)  # k * stride rounds like numpy, ties included
    return [ladder.count - 1.0, *(k * stride for k in reversed(range(steps - 1)))]


def sgm_uniform(ladder: Ladder) -> Grid:
    """`normal` without rung 0 (Stability's generative-models)."""
    return skip_last(normal(ladder))


def simple(ladder: Ladder) -> Grid:
    """Every (T / steps)-th rung down from the last, cut to whole rungs on a whole ladder (ComfyUI)."""

    def rungs(steps: int) -> list[float]:
        values = [k * (ladder.count / steps) for k in range(steps)]
        return [ladder.count - 1 - (int(value) if ladder.whole else value) for value in values]

    return on_rungs(ladder, rungs, _most(ladder))


def ddim_uniform(ladder: Ladder) -> Grid:
    """`leading` from rung 1 (ComfyUI's ddim_uniform, which visits one more level if steps do not divide T)."""
    return leading(ladder, offset=1)


def smoothstep(ladder: Ladder) -> Grid:
    """Rungs at u^2 (3 - 2 u) of the ladder, u = 1 - k / steps (stable-diffusion.cpp, there rounded)."""

    def rungs(steps: int) -> list[float]:
        return [(ladder.count - 1) * u * u * (3 - 2 * u) for u in (1 - k / steps for k in range(steps))]

    return on_rungs(ladder, rungs)


def linear_quadratic(ladder: Ladder, threshold: float = 0.025) -> Grid:
    """t falls from 1 linearly by `threshold` in the first half of the steps, then quadratically to 0 (Mochi, LTX)."""

    def rungs(steps: int) -> list[float]:
        half = max(steps // 2, 1)
        slope = threshold / half
        bend = (1 - slope * steps) / max(steps - half, 1) ** 2
        gone = [slope * k + bend * max(k - half, 0) ** 2 for k in range(steps)]
        return [ladder.count * (1 - share) - 1 for share in gone]

    return on_rungs(ladder, rungs)


def flow_unipc(ladder: Ladder) -> Grid:
    """Rungs in equal parts from the last but one towards the clean end (Wan 2.1's FlowUniPCMultistepScheduler).

    On a flow of 1000 rungs t = 0.999 (1 - k / steps), before a shift: pure noise itself is left out.
    """

    def grid(steps: int) -> list[float]:
        _check(steps)
        return [*(ladder.lam((ladder.count - 1) * (1 - k / steps) - 1) for k in range(steps)), math.inf]

    return grid


def flow_unipc_diffusers(ladder: Ladder) -> Grid:
    """`sgm_uniform`, where pure noise is replaced by t = 1 - 1e-6 of a flow (diffusers' UniPC with use_flow_sigmas).

    diffusers has it since 0.37; before, its UniPC had the levels of `flow_unipc`.
    """
    noisiest = math.log(1e-6) - math.log1p(-1e-6)

    def grid(steps: int) -> list[float]:
        first, *others = sgm_uniform(ladder)(steps)
        return [max(first, noisiest), *others]

    return grid


def karras(ladder: Ladder, rho: float = 7.0) -> Grid:
    """sigma^(1/rho) falls in equal parts (Karras et al. 2022, eq. 5); sigma is sigma / alpha in every gauge."""
    noisy, clean = (math.exp(-lam / rho) for lam in finite_ends(ladder))
    return in_lam(ladder, lambda shares: [-rho * math.log(noisy + share * (clean - noisy)) for share in shares])


def exponential(ladder: Ladder) -> Grid:
    """lam rises in equal parts (k-diffusion's get_sigmas_exponential)."""
    return polyexponential(ladder)


def polyexponential(ladder: Ladder, rho: float = 1.0) -> Grid:
    """lam rises as a power of the share (k-diffusion's get_sigmas_polyexponential); rho 1 is `exponential`."""
    noisy, clean = finite_ends(ladder)
    return in_lam(ladder, lambda shares: [clean + (1 - share) ** rho * (noisy - clean) for share in shares])


def kl_optimal(ladder: Ladder) -> Grid:
    """arctan(sigma / alpha) falls in equal parts (Sabour et al. 2024, Align Your Steps, theorem 3.1)."""
    noisy, clean = (math.atan(math.exp(-lam)) for lam in finite_ends(ladder))
    return in_lam(ladder, lambda shares: [-math.log(math.tan(noisy + share * (clean - noisy))) for share in shares])


def beta(ladder: Ladder, a: float = 0.6, b: float = 0.6) -> Grid:
    """Rungs at quantiles of Beta(a, b), dense at both ends (Lee et al. 2024, arXiv 2407.12173; ComfyUI, rounded)."""

    def rungs(steps: int) -> list[float]:
        shares = 1 - torch.arange(steps, dtype=torch.float64, device="cpu") / steps
        return ((ladder.count - 1) * quantile(shares, a, b)).tolist()

    return on_rungs(ladder, rungs)


def beta_sigma(ladder: Ladder, a: float = 0.6, b: float = 0.6) -> Grid:
    """sigma / alpha at quantiles of Beta(a, b) between the ends (diffusers' use_beta_sigmas, A1111's Beta)."""
    noisy, clean = (math.exp(-lam) for lam in finite_ends(ladder))

    def curve(shares: list[float]) -> list[float]:
        x = quantile(1 - torch.tensor(shares, dtype=torch.float64, device="cpu"), a, b)
        lams: list[float] = (-(clean + x * (noisy - clean)).log()).tolist()
        return lams

    return in_lam(ladder, curve)


SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {
        "karras": karras,
        "exponential": exponential,
        "polyexponential": polyexponential,
        "kl_optimal": kl_optimal,
        "normal": normal,
        "sgm_uniform": sgm_uniform,
        "simple": simple,
        "ddim_uniform": ddim_uniform,
        "beta": beta,
        "beta_sigma": beta_sigma,
        "linear_quadratic": linear_quadratic,
        "smoothstep": smoothstep,
        "flow_unipc": flow_unipc,
        "flow_unipc_diffusers": flow_unipc_diffusers,
        "trailing": trailing,
        "leading": leading,
        "linspace": linspace,
    }
)

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "uniform": "normal",  # A1111
        "discrete": "normal",  # stable-diffusion.cpp
        "sgmuniform": "sgm_uniform",  # A1111's old spelling
        "ddim": "ddim_uniform",  # A1111
        "flow": "trailing",  # uniform in t
        "use_flow_sigmas": "trailing",  # diffusers
        "use_karras_sigmas": "karras",
        "use_exponential_sigmas": "exponential",
        "use_beta_sigmas": "beta_sigma",
        "get_sigmas_karras": "karras",  # k-diffusion
        "get_sigmas_exponential": "exponential",
        "get_sigmas_polyexponential": "polyexponential",
    }
)


def find(name: str) -> Schedule:
    """The schedule of that name or alias; RequestError with the nearest names for an unknown one."""
    return SCHEDULES[canonical("schedule", name, SCHEDULES, ALIASES)]
