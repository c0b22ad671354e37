"""How strongly a guide pulls: one number, or one a level."""

from collections.abc import Callable

from scorefield.core.level import Level

Scale = float | Callable[[Level], float]


def strength(scale: Scale, at: Level) -> float:
    """The number that `scale` is at the level `at`."""
    return scale(at) if callable(scale) else scale
