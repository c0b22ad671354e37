"""Every experiment by name, in the order of the documentation."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from scorefield.lab.experiment import Experiment, LabError, Result, Settings
from scorefield.lab.pictures.attention import attention
from scorefield.lab.pictures.blue import blue
from scorefield.lab.pictures.guidance import guidance
from scorefield.lab.pictures.hat import hat
from scorefield.lab.pictures.latents import latents
from scorefield.lab.pictures.mix import mix
from scorefield.lab.pictures.no_noise import no_noise
from scorefield.lab.pictures.schedule import schedule
from scorefield.lab.pictures.steps import steps
from scorefield.lab.pictures.tokens import tokens
from scorefield.lab.pictures.word_surgery import surgery
from scorefield.lab.pictures.zero_shot import zero_shot
from scorefield.lab.plane.classes import classes
from scorefield.lab.plane.ddim import ddim
from scorefield.lab.plane.ddpm import ddpm
from scorefield.lab.plane.families import families
from scorefield.lab.plane.field import field
from scorefield.lab.plane.flow import flow
from scorefield.lab.plane.optimisers import optimise
from scorefield.lab.plane.order import order
from scorefield.lab.plane.pixels import pixels
from scorefield.lab.plane.random_walk import walk
from scorefield.lab.plane.spiral import spiral
from scorefield.lab.plane.target import target
from scorefield.lab.plane.turn import turn

_ALL: tuple[Experiment[Settings, Result], ...] = (  # type: ignore[assignment]
    spiral,
    walk,
    pixels,
    field,
    target,
    turn,
    ddpm,
    ddim,
    flow,
    classes,
    order,
    optimise,
    families,
    guidance,
    no_noise,
    latents,
    schedule,
    tokens,
    surgery,
    mix,
    steps,
    blue,
    hat,
    zero_shot,
    attention,
)
EXPERIMENTS: Mapping[str, Experiment[Settings, Result]] = MappingProxyType({one.name: one for one in _ALL})


def find(name: str) -> Experiment[Settings, Result]:
    """The experiment of that name; LabError lists the nearest names."""
    key = name.lower().replace("_", "-")
    if key not in EXPERIMENTS:
        near = get_close_matches(key, EXPERIMENTS, n=3)
        hint = f"nearest: {', '.join(near)}" if near else f"there are {', '.join(EXPERIMENTS)}"
        raise LabError(f"there is no experiment {name!r}; {hint}")
    return EXPERIMENTS[key]
