"""The content to ask of a scene, by task: nouns, their relation, a motion."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from scorefield.data.captions import Move, Noun
from scorefield.data.colours import COLOURS
from scorefield.data.motions import MOTIONS, Direction, movers
from scorefield.data.phrases import SIZES
from scorefield.data.things import BY_NAME, COLOURED, HATTED, HELD, HOLDERS, MOUNTS, NAMES, RIDERS, WORN

Task = Literal["single", "two", "counting", "colours", "position", "binding", "mixed", "motion", "whole"]

T = TypeVar("T")

TASKS: dict[Task, float] = {  # share of each task in the stream of scenes
    "single": 0.24,
    "two": 0.10,
    "counting": 0.13,
    "colours": 0.11,
    "position": 0.16,
    "binding": 0.08,
    "mixed": 0.09,
    "motion": 0.05,
    "whole": 0.04,
}
OFTEN = NAMES + tuple(name for name in NAMES if BY_NAME[name].hard)
WEARERS = tuple(name for name in NAMES if name in HATTED)
COUNTS = ((2, 0.34), (3, 0.3), (4, 0.2), (5, 0.16))
RELATED = (
    ("left", 0.15), ("right", 0.15), ("above", 0.12), ("below", 0.12), ("on", 0.14), ("next", 0.11), ("front", 0.06),
    ("behind", 0.05), ("holding", 0.06), ("riding", 0.04),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The content of a scene; `nouns` of a whole scene may be empty."""

    nouns: tuple[Noun, ...]
    relation: str | None = None
    move: Move | None = None


def choose(rng: random.Random, among: tuple[str, ...]) -> str:
    """One of `among`, all equally likely."""
    return among[int(rng.random() * len(among))]


def weighed(rng: random.Random, among: tuple[tuple[T, float], ...]) -> T:
    """One of `among`, by weight."""
    return rng.choices([one for one, _ in among], [weight for _, weight in among])[0]


def _different(rng: random.Random, first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, str]:
    one = choose(rng, first)
    other = choose(rng, second)
    while other == one:
        other = choose(rng, second)
    return one, other


def _single(rng: random.Random) -> Asked:
    thing = choose(rng, OFTEN if rng.random() < 0.9 else WEARERS)
    size = choose(rng, tuple(SIZES)) if rng.random() < 0.25 else None
    worn, bare = None, False
    if thing in HATTED and rng.random() < 0.4:
        worn = "hat" if rng.random() < 0.5 else choose(rng, tuple(WORN))
        bare = rng.random() < 0.25
    return Asked(nouns=(Noun(thing=thing, size=size, worn=None if bare else worn, bare=bare),))


def _two(rng: random.Random) -> Asked:
    return Asked(nouns=tuple(Noun(thing=thing) for thing in _different(rng, OFTEN, OFTEN)))


def _counting(rng: random.Random) -> Asked:
    count = weighed(rng, COUNTS)
    return Asked(nouns=(Noun(thing=choose(rng, OFTEN), count=count, counted=rng.random() > 0.12),))


def _colours(rng: random.Random) -> Asked:
    size = choose(rng, tuple(SIZES)) if rng.random() < 0.1 else None
    return Asked(nouns=(Noun(thing=choose(rng, COLOURED), colour=choose(rng, tuple(COLOURS)), size=size),))


def _position(rng: random.Random) -> Asked:
    relation = weighed(rng, RELATED)
    sides = {"holding": (HOLDERS, HELD), "riding": (RIDERS, MOUNTS)}.get(relation, (OFTEN, OFTEN))
    return Asked(nouns=tuple(Noun(thing=thing) for thing in _different(rng, *sides)), relation=relation)


def _binding(rng: random.Random) -> Asked:
    first, second = _different(rng, COLOURED, COLOURED)
    one, other = rng.sample(tuple(COLOURS), 2)
    return Asked(nouns=(Noun(thing=first, colour=one), Noun(thing=second, colour=other)))


def _qualified(noun: Noun, rng: random.Random) -> Noun:
    """The noun, perhaps with a colour, a size or a hat."""
    colour = choose(rng, tuple(COLOURS)) if noun.thing in COLOURED and rng.random() < 0.6 else None
    size = choose(rng, tuple(SIZES)) if noun.count == 1 and rng.random() < 0.2 else None
    worn = choose(rng, tuple(WORN)) if noun.thing in HATTED and rng.random() < 0.3 else None
    return replace(noun, colour=colour, size=size, worn=worn)


def _mixed(rng: random.Random) -> Asked:
    if rng.random() < 0.5:
        return Asked(nouns=(_qualified(replace(_counting(rng).nouns[0], counted=True), rng),))
    nouns, relation = _two(rng).nouns, None
    if rng.random() < 0.6:
        asked = _position(rng)
        nouns, relation = asked.nouns, asked.relation
    else:
        nouns = tuple(replace(noun, count=1 + (rng.random() < 0.4)) for noun in nouns)
    return Asked(nouns=tuple(replace(_qualified(noun, rng), size=None) for noun in nouns), relation=relation)


def _motion(rng: random.Random) -> Asked:
    name = choose(rng, tuple(MOTIONS))
    motion = MOTIONS[name]
    if motion.other:
        pair = _different(rng, movers(name), movers(name) if name == "cross" else OFTEN)
        return Asked(nouns=tuple(Noun(thing=thing) for thing in pair), move=Move(name=name, pace="unseen"))
    thing = choose(rng, movers(name))
    colour = choose(rng, tuple(COLOURS)) if thing in COLOURED and rng.random() < 0.25 else None
    direction: Direction | None = None
    if motion.sideways and rng.random() < 0.9:
        direction = "left" if rng.random() < 0.5 else "right"
    return Asked(nouns=(Noun(thing=thing, colour=colour),), move=Move(name=name, direction=direction, pace="unseen"))


def _whole(rng: random.Random) -> Asked:
    count = int(rng.random() * 5)
    return Asked(nouns=tuple(Noun(thing=thing) for thing in rng.sample(NAMES, count)))


DRAW: dict[Task, Callable[[random.Random], Asked]] = {
    "single": _single,
    "two": _two,
    "counting": _counting,
    "colours": _colours,
    "position": _position,
    "binding": _binding,
    "mixed": _mixed,
    "motion": _motion,
    "whole": _whole,
}
