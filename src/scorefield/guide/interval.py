"""Guidance at some levels only."""

from collections.abc import Callable, Collection

from torch import Tensor

from scorefield.core.denoiser import Denoise, VarianceDenoise
from scorefield.core.level import Level
from scorefield.errors import RequestError


def within(guided: Denoise, plain: Denoise, lo: float, hi: float) -> Denoise:
    """`guided` where lo <= lam <= hi, else `plain` (Kynkaanniemi et al. 2024); lo below hi, either may be infinite."""
    if not lo <= hi:
        raise RequestError(f"a guidance interval needs lo <= hi in lam, got {lo} and {hi}")
    return _either(guided, plain, lambda at: bool(lo <= at.lam <= hi))


def at_levels(guided: Denoise, plain: Denoise, levels: Collection[Level]) -> Denoise:
    """`guided` at exactly these levels, else `plain`; `levels[::5]` of a run's levels is every fifth step.

    Levels that a sampler puts between those of the run (DPM2's midpoints) are plain.
    """
    chosen = frozenset(levels)
    return _either(guided, plain, lambda at: at in chosen)


def _either(guided: Denoise, plain: Denoise, at_level: Callable[[Level], bool]) -> Denoise:
    if not (isinstance(guided, VarianceDenoise) and isinstance(plain, VarianceDenoise)):
        return lambda x, at: guided(x, at) if at_level(at) else plain(x, at)
    first, second = guided.both, plain.both

    def both(x: Tensor, at: Level) -> tuple[Tensor, Tensor]:
        return first(x, at) if at_level(at) else second(x, at)

    return VarianceDenoise(both)
