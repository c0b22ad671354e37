"""Guidance at some levels only."""

from collections.abc import Collection

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.errors import RequestError


def within(guided: Denoise, plain: Denoise, lo: float, hi: float) -> Denoise:
    """`guided` where lo <= lam <= hi, else `plain` (Kynkaanniemi et al. 2024); lo below hi, either may be infinite."""
    if not lo <= hi:
        raise RequestError(f"a guidance interval needs lo <= hi in lam, got {lo} and {hi}")
    return lambda x, at: guided(x, at) if lo <= at.lam <= hi else plain(x, at)


def at_levels(guided: Denoise, plain: Denoise, levels: Collection[Level]) -> Denoise:
    """`guided` at exactly these levels, else `plain`; `levels[::5]` of a run's levels is every fifth step.

    Levels that a sampler puts between those of the run (DPM2's midpoints) are plain.
    """
    chosen = frozenset(levels)
    return lambda x, at: guided(x, at) if at in chosen else plain(x, at)
