"""The scenes data set: scene `index` of `seed` is always the same captioned picture."""

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scorefield.data.captions import Noun, caption
from scorefield.data.places import FLOATING, VARIANTS
from scorefield.data.things import COLOURS, PLACES, SIZES, STYLES, THINGS, WORN

Split = Literal["train", "heldout"]
Task = Literal["single", "two", "counting", "colours", "position", "binding"]

TASKS: dict[Task, float] = {  # share of each task in the stream of scenes
    "single": 0.28,
    "two": 0.13,
    "counting": 0.19,
    "colours": 0.14,
    "position": 0.16,
    "binding": 0.10,
}
SIZE_OF: dict[str | None, int] = {"small": 32, None: 60, "big": 88}  # px of a lone thing's longer side
MIRROR = {"left": "right", "right": "left", "above": "below", "below": "above"}

COLOURED = tuple(thing.name for thing in THINGS if thing.coloured)
NAMES = tuple(thing.name for thing in THINGS)
HATTED = frozenset(thing.name for thing in THINGS if thing.hat_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing in the picture: its centre and longer side in px, and how it is drawn."""

    thing: str
    x: int
    y: int
    size: int
    colour: str | None = None
    worn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One captioned picture, as data; `nouns` and `relation` are what the caption says."""

    task: Task
    caption: str
    nouns: tuple[Noun, ...]
    relation: str | None
    place: str
    place_said: bool
    style: str | None
    variant: int
    items: tuple[Item, ...]


def _tenth(*words: str) -> bool:
    return zlib.crc32("|".join(words).encode()) % 10 == 0


def held_out_place(thing: str, place: str) -> bool:
    """Whether thing x place is never trained on."""
    return _tenth(thing, place)


def held_out_pair(first: str, second: str, relation: str | None) -> bool:
    """Whether thing x thing x relation is never trained on; said either way round it is one combination."""
    if relation is None:
        return _tenth(*sorted((first, second)), "and")
    if relation in ("right", "below"):
        first, second, relation = second, first, MIRROR[relation]
    return _tenth(first, second, relation)


def _jitter(rng: random.Random, middle: float, swing: int) -> int:
    return round(middle + (2 * rng.random() - 1) * swing)


def _choose(rng: random.Random, among: tuple[str, ...]) -> str:
    return among[int(rng.random() * len(among))]


def _single(rng: random.Random) -> tuple[list[Noun], None]:
    thing = _choose(rng, NAMES)
    size = _choose(rng, SIZES) if rng.random() < 0.2 else None
    worn, bare = None, False
    if thing in HATTED and rng.random() < 0.4:
        worn = "hat" if rng.random() < 0.6 else _choose(rng, tuple(WORN))
        bare = rng.random() < 0.25
    return [Noun(thing=thing, size=size, worn=None if bare else worn, bare=bare)], None


def _two(rng: random.Random) -> tuple[list[Noun], None]:
    first, second = rng.sample(NAMES, 2)
    return [Noun(thing=first), Noun(thing=second)], None


def _counting(rng: random.Random) -> tuple[list[Noun], None]:
    return [Noun(thing=_choose(rng, NAMES), count=2 + (rng.random() < 0.5))], None


def _colours(rng: random.Random) -> tuple[list[Noun], None]:
    return [Noun(thing=_choose(rng, COLOURED), colour=_choose(rng, tuple(COLOURS)))], None


def _position(rng: random.Random) -> tuple[list[Noun], str]:
    first, second = rng.sample(NAMES, 2)
    relation = "on" if rng.random() < 0.16 else _choose(rng, ("left", "right", "above", "below"))
    return [Noun(thing=first), Noun(thing=second)], relation


def _binding(rng: random.Random) -> tuple[list[Noun], None]:
    first, second = rng.sample(COLOURED, 2)
    one, other = rng.sample(tuple(COLOURS), 2)
    return [Noun(thing=first, colour=one), Noun(thing=second, colour=other)], None


DRAW: dict[Task, Callable[[random.Random], tuple[list[Noun], str | None]]] = {
    "single": _single,
    "two": _two,
    "counting": _counting,
    "colours": _colours,
    "position": _position,
    "binding": _binding,
}


def _arrangement(nouns: list[Noun], relation: str | None, split: Split, rng: random.Random) -> str | None:
    """Where the first of two things is drawn; for two things with no relation said, any that the split allows."""
    if len(nouns) < 2 or relation is not None:
        return relation
    ways = [way for way in MIRROR if split == "heldout" or not held_out_pair(nouns[0].thing, nouns[1].thing, way)]
    return ways[int(rng.random() * len(ways))] if ways else None


def _item(noun: Noun, x: int, y: int, size: int) -> Item:
    return Item(thing=noun.thing, x=x, y=y, size=size, colour=noun.colour, worn=noun.worn)


def _pair(nouns: list[Noun], way: str, rng: random.Random) -> list[Item]:
    """Two things, the first `way` of the second."""
    if way in ("right", "below"):
        return _pair(nouns[::-1], MIRROR[way], rng)[::-1]
    size = 44 + 4 * int(rng.random() * 2)
    if way == "left":
        y = _jitter(rng, 76, 12)
        places = [(_jitter(rng, 34, 5), y + _jitter(rng, 0, 4)), (_jitter(rng, 94, 5), y + _jitter(rng, 0, 4))]
    elif way == "above":
        x = _jitter(rng, 64, 16)
        places = [(x + _jitter(rng, 0, 6), _jitter(rng, 32, 4)), (x + _jitter(rng, 0, 6), _jitter(rng, 95, 4))]
    else:  # on: the first stands on the second and overlaps it
        x = _jitter(rng, 64, 14)
        return [_item(nouns[0], x + _jitter(rng, 0, 3), 44, 40), _item(nouns[1], x, 88, 56)]
    return [_item(noun, *spot, size) for noun, spot in zip(nouns, places, strict=True)]


def _several(noun: Noun, rng: random.Random) -> list[Item]:
    """Two or three of a thing, side by side or in a triangle."""
    if noun.count == 2:
        y = _jitter(rng, 76, 12)
        spots = [(_jitter(rng, 34, 4), y + _jitter(rng, 0, 5)), (_jitter(rng, 94, 4), y + _jitter(rng, 0, 5))]
        size = 44 + 4 * int(rng.random() * 2)
    elif rng.random() < 0.5:
        y = _jitter(rng, 76, 14)
        spots = [(x + _jitter(rng, 0, 2), y + _jitter(rng, 0, 5)) for x in (22, 64, 106)]
        size = 36
    else:
        up = rng.random() < 0.5
        spots = [(_jitter(rng, 34, 4), 94 if up else 40), (_jitter(rng, 94, 4), 94 if up else 40)]
        spots.append((_jitter(rng, 64, 6), 40 if up else 94))
        size = 40
    return [_item(noun, *spot, size) for spot in spots]


def _alone(noun: Noun, place: str, rng: random.Random) -> list[Item]:
    """One thing near the middle, standing lower where there is ground."""
    size = SIZE_OF[noun.size] + 4 * int(rng.random() * 3) - 4
    y = _jitter(rng, 64, 10) if place in FLOATING else _jitter(rng, 106, 6) - size // 2
    return [_item(noun, _jitter(rng, 64, 16 if size < 80 else 6), max(y, size // 2 + 4), size)]


def _combination_held_out(nouns: list[Noun], relation: str | None, place: str) -> bool:
    if any(held_out_place(noun.thing, place) for noun in nouns):
        return True
    return len(nouns) == 2 and held_out_pair(nouns[0].thing, nouns[1].thing, relation)


def _attempt(task: Task, split: Split, rng: random.Random) -> Scene | None:
    """One draw; None where it falls into the other split."""
    nouns, relation = DRAW[task](rng)
    place = _choose(rng, tuple(PLACES))
    if _combination_held_out(nouns, relation, place) != (split == "heldout"):
        return None
    way = _arrangement(nouns, relation, split, rng)
    if len(nouns) == 2 and way is None:
        return None
    place_said = rng.random() < 0.6
    style = _choose(rng, tuple(STYLES)) if task == "single" and rng.random() < 0.14 else None
    if way is not None:
        items = _pair(nouns, way, rng)
    elif nouns[0].count > 1:
        items = _several(nouns[0], rng)
    else:
        items = _alone(nouns[0], place, rng)
    return Scene(
        task=task,
        caption=caption(nouns, relation, place if place_said else None, style, rng),
        nouns=tuple(nouns),
        relation=relation,
        place=place,
        place_said=place_said,
        style=style,
        variant=int(rng.random() * VARIANTS),
        items=tuple(items),
    )


def scene(index: int, seed: int = 0, split: Split = "train", task: Task | None = None) -> Scene:
    """Scene `index` of `seed`: always the same; of any task, or of the one named.

    The `heldout` split holds only combinations (thing x place, thing x thing x relation) that `train` never shows.
    """
    rng = random.Random(f"{split}/{task}/{seed}/{index}")
    while True:
        chosen = task or rng.choices(tuple(TASKS), tuple(TASKS.values()))[0]
        found = _attempt(chosen, split, rng)
        if found is not None:
            return found
