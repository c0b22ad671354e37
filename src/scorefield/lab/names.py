"""Every experiment by name, in the order in which they tell the story."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from scorefield.lab.experiment import Experiment, LabError, Result, Settings
from scorefield.lab.plane.walk import walk

_ALL: tuple[Experiment[Settings, Result], ...] = (walk,)  # type: ignore[assignment]
EXPERIMENTS: Mapping[str, Experiment[Settings, Result]] = MappingProxyType({one.name: one for one in _ALL})


def find(name: str) -> Experiment[Settings, Result]:
    """The experiment of that name; LabError with the nearest ones otherwise."""
    key = name.lower().replace("_", "-")
    if key not in EXPERIMENTS:
        near = get_close_matches(key, EXPERIMENTS, n=3)
        told = f"nearest: {', '.join(near)}" if near else f"there are {', '.join(EXPERIMENTS)}"
        raise LabError(f"there is no experiment {name!r}; {told}")
    return EXPERIMENTS[key]
