"""The scenes data set: scene `index` of `seed` is always the same captioned picture."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scorefield.data import layout
from scorefield.data.asked import DRAW, TASKS, Asked, Task, choose
from scorefield.data.captions import Move, Noun, caption
from scorefield.data.layout import Item
from scorefield.data.phrases import PLACES, STYLES
from scorefield.data.places import VARIANTS
from scorefield.data.splits import held_out_motion, held_out_pair, held_out_place

Split = Literal["train", "heldout"]
STYLED: dict[Task, float] = {"single": 0.16, "two": 0.06, "counting": 0.06, "position": 0.04, "whole": 0.1}
HIDDEN = frozenset(  # colour x place where a thing would hardly be visible
    {(colour, colour) for colour in ("white", "grey", "blue", "green", "pink", "yellow", "red", "black")}
    | {("black", place) for place in ("night", "space", "moon")} | {("white", "snow"), ("grey", "rain")}
)  # fmt: skip
FAR = 24  # px: the least distance of things of which one is left of, or above, the other
PLACED = 0.62  # the share of captions that name the place


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One captioned picture, as data; `nouns`, `relation` and `move` are those of the caption."""

    task: Task
    caption: str
    nouns: tuple[Noun, ...]
    relation: str | None
    place: str
    place_said: bool
    style: str | None
    variant: int
    items: tuple[Item, ...]
    move: Move | None = None


def apart(items: Sequence[Item]) -> bool:
    """Whether two of the things are in a held-out relation."""
    for k, second in enumerate(items):
        for first in items[:k]:
            ways: list[str | None] = [None] if first.thing != second.thing else []
            if ways and abs(first.x - second.x) > FAR:
                ways.append("left" if first.x < second.x else "right")
            if ways and abs(first.y - second.y) > FAR:
                ways.append("above" if first.y < second.y else "below")
            if any(held_out_pair(first.thing, second.thing, way) for way in ways):
                return True
    return False


def _held_out(asked: Asked, place: str) -> bool:
    """Whether a held-out combination is asked for."""
    nouns = asked.nouns
    if any(held_out_place(noun.thing, place) for noun in nouns):
        return True
    if asked.move is not None and held_out_motion(nouns[0].thing, asked.move.name, place):
        return True
    pairs = [(one.thing, other.thing) for k, other in enumerate(nouns) for one in nouns[:k]]
    return any(held_out_pair(*pair, asked.relation) for pair in pairs)


def _arrangement(asked: Asked, split: Split, rng: random.Random) -> str | None:
    """The relation by which two things are laid out; if the caption has none, any that the split allows."""
    if asked.relation is not None:
        return asked.relation
    things = [noun.thing for noun in asked.nouns]
    side_by_side = asked.move is not None or any(noun.count > 1 for noun in asked.nouns)
    among = ("left",) if side_by_side else ("left", "right", "above", "below")
    ways = [way for way in among if split == "heldout" or not held_out_pair(things[0], things[1], way)]
    return ways[int(rng.random() * len(ways))] if ways else None


def _laid_out(asked: Asked, way: str | None, place: str, rng: random.Random) -> list[Item]:
    """The items for every task except whole scenes."""
    nouns = asked.nouns
    if asked.move is not None:
        return layout.moving(nouns, asked.move, place, rng)
    if len(nouns) == 1:
        return layout.several(nouns[0], place, rng) if nouns[0].count > 1 else layout.alone(nouns[0], place, rng)
    if any(noun.count > 1 for noun in nouns):
        return layout.groups(nouns, place, rng)
    return layout.pair(nouns, way or "left", place, rng)


def _attempt(task: Task, split: Split, rng: random.Random) -> Scene | None:
    """One draw; None if it falls into the other split."""
    asked = DRAW[task](rng)
    place = choose(rng, tuple(PLACES))
    if _held_out(asked, place) != (split == "heldout") or any((noun.colour, place) in HIDDEN for noun in asked.nouns):
        return None
    way = None
    if task == "whole":
        items = layout.whole(asked.nouns, place, rng)
        if split == "train" and apart(items):
            return None
        if rng.random() < 0.5:  # the caption names no thing, at most the place
            asked = Asked(nouns=())
    else:
        if len(asked.nouns) == 2:
            way = _arrangement(asked, split, rng)
            if way is None:
                return None
        items = _laid_out(asked, way, place, rng)
    place_said = rng.random() < PLACED
    style = choose(rng, tuple(STYLES)) if asked.nouns and rng.random() < STYLED.get(task, 0.0) else None
    return Scene(
        task=task,
        caption=caption(asked.nouns, asked.relation, place if place_said else None, style, rng, asked.move),
        nouns=asked.nouns,
        relation=asked.relation,
        place=place,
        place_said=place_said,
        style=style,
        variant=int(rng.random() * VARIANTS),
        items=tuple(items),
        move=asked.move,
    )


def scene(index: int, seed: int = 0, split: Split = "train", task: Task | None = None) -> Scene:
    """Scene `index` of `seed`, which is always the same; of any task, or of the one given.

    The `heldout` split has only combinations (thing x place, thing x thing x relation, thing x motion x place) that
    `train` never shows.
    """
    rng = random.Random(f"{split}/{task}/{seed}/{index}")
    chosen = task or rng.choices(tuple(TASKS), tuple(TASKS.values()))[0]
    while True:
        found = _attempt(chosen, split, rng)
        if found is not None:
            return found
