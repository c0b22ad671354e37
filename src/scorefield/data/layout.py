"""The layout of things in a picture: alone, in a relation, several of a kind, as a whole scene."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scorefield.data.captions import Move, Noun
from scorefield.data.motions import MOTIONS, flipped
from scorefield.data.paint import SIZE
from scorefield.data.places import GROUND
from scorefield.data.splits import MIRROR
from scorefield.data.sprites import sides
from scorefield.data.things import BY_NAME

SIZE_OF: dict[str | None, int] = {"small": 32, None: 60, "big": 88}  # px of a lone thing's longer side
TURNS = (45, 90, 135, 180, 225, 270, 315)  # degrees of a thing that spins
ROW = 121  # px: where things in the front row stand
Spot = tuple[int, int]
GRIDS: dict[int, tuple[tuple[Spot, ...], tuple[Spot, ...]]] = {  # count -> two layouts: column in px, row (0 is behind)
    4: (((32, 0), (94, 0), (32, 1), (94, 1)), ((26, 0), (74, 0), (52, 1), (100, 1))),
    5: (((22, 0), (64, 0), (106, 0), (44, 1), (84, 1)), ((44, 0), (84, 0), (22, 1), (64, 1), (106, 1))),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing in the picture: its centre and longer side in px, and its look."""

    thing: str
    x: int
    y: int
    size: int
    colour: str | None = None
    worn: str | None = None
    flip: bool = False
    turn: int = 0  # degrees
    depth: int = 0  # greater depths are drawn later, in front; among equals, the first named is in front


def jitter(rng: random.Random, middle: float, swing: int) -> int:
    """A whole number near `middle`."""
    return round(middle + (2 * rng.random() - 1) * swing)


def _item(noun: Noun, x: int, y: int, size: int, depth: int = 0) -> Item:
    return Item(thing=noun.thing, x=x, y=y, size=size, colour=noun.colour, worn=noun.worn, depth=depth)


def _height(noun: Noun, size: int) -> int:
    return sides(noun.thing, size, noun.worn)[1]


def _standing(noun: Noun, x: int, base: int, size: int, depth: int = 0) -> Item:
    """The thing, standing on row `base`."""
    return _item(noun, x, base - _height(noun, size) // 2, size, depth)


def _flies(noun: Noun, place: str, rng: random.Random) -> bool:
    """Whether it hangs in the air of a place with ground."""
    kind = BY_NAME[noun.thing].kind
    return place in GROUND and (kind == "sky" or (kind in ("bird", "aircraft") and rng.random() < 0.25))


def alone(noun: Noun, place: str, rng: random.Random) -> list[Item]:
    """One thing near the middle: lower if there is ground to stand on, higher if it flies."""
    size = SIZE_OF[noun.size] + 4 * int(rng.random() * 3) - 4
    height = _height(noun, size)
    if _flies(noun, place, rng):
        y = jitter(rng, 38, 8)
    else:
        y = jitter(rng, 109, 7) - height // 2 if place in GROUND else jitter(rng, 64, 10)
    y = min(max(y, height // 2 + 4), SIZE - 4 - height // 2)
    return [_item(noun, jitter(rng, 64, 16 if size < 80 else 6), y, size)]


def _beside(nouns: Sequence[Noun], place: str, rng: random.Random, xs: Spot, size: int) -> list[Item]:
    """Two things side by side, on the same ground or at the same height."""
    middle, base = jitter(rng, 70, 14), jitter(rng, 108, 9)
    items = []
    for noun, x in zip(nouns, xs, strict=True):
        if BY_NAME[noun.thing].kind == "sky" and place in GROUND and abs(xs[1] - xs[0]) > 50:
            items.append(_item(noun, x, jitter(rng, 48, 6), size))
        elif place in GROUND:
            items.append(_standing(noun, x, base + jitter(rng, 0, 3), size))
        else:
            items.append(_item(noun, x, middle + jitter(rng, 0, 4), size))
    return items


def _stacked(nouns: Sequence[Noun], rng: random.Random, sunk: float) -> list[Item]:
    """The first on the second, sunk into it by the share `sunk` of its height."""
    x, size = jitter(rng, 64, 14), 56 + 4 * int(rng.random() * 2)
    below = _standing(nouns[1], x, jitter(rng, 117, 3), size)
    height = _height(nouns[1], size)
    foot = below.y - height // 2 + round(sunk * height) + 2
    return [_standing(nouns[0], x + jitter(rng, 0, 3), max(foot, 46), 40, depth=1), below]


def _held(nouns: Sequence[Noun], rng: random.Random) -> list[Item]:
    """The first with the second in its hand."""
    x, size = jitter(rng, 64, 12), 64 + 4 * int(rng.random() * 3)
    holder = _standing(nouns[0], x, jitter(rng, 112, 5), size)
    width, height = sides(nouns[0].thing, size, nouns[0].worn)
    side = -1 if rng.random() < 0.5 else 1
    hand = (x + side * round(0.42 * width + 6), holder.y + round(0.14 * height) + jitter(rng, 0, 3))
    return [holder, _item(nouns[1], *hand, 32, depth=1)]


def pair(nouns: Sequence[Noun], way: str, place: str, rng: random.Random) -> list[Item]:
    """Two things, with the relation `way` of the first to the second."""
    if way in ("right", "below", "behind"):
        return pair(nouns[::-1], MIRROR[way], place, rng)[::-1]
    size = 44 + 4 * int(rng.random() * 2)
    if way == "left":
        return _beside(nouns, place, rng, (jitter(rng, 34, 5), jitter(rng, 94, 5)), size)
    if way == "next":
        left, right = jitter(rng, 40, 3), jitter(rng, 88, 3)
        return _beside(nouns, place, rng, (left, right) if rng.random() < 0.5 else (right, left), size)
    if way == "above":
        x = jitter(rng, 64, 16)
        spots = [(x + jitter(rng, 0, 6), jitter(rng, 32, 4)), (x + jitter(rng, 0, 6), jitter(rng, 95, 4))]
        return [_item(noun, *spot, size) for noun, spot in zip(nouns, spots, strict=True)]
    if way == "front":
        x = jitter(rng, 64, 10)
        near = _standing(nouns[0], x + jitter(rng, 0, 16), jitter(rng, 120, 3), 36 + 4 * int(rng.random() * 2), depth=1)
        return [near, _standing(nouns[1], x, jitter(rng, 96, 4), 68)]
    if way == "holding":
        return _held(nouns, rng)
    return _stacked(nouns, rng, 0.1 if way == "on" else 0.35)


def _rows(place: str) -> Spot:
    """The bases of a row behind and a front row if there is ground, else their middles."""
    return (min(GROUND[place] + 6, 88), ROW) if place in GROUND else (60, 112)


def _grid(noun: Noun, place: str, rng: random.Random, cells: Sequence[tuple[int, int]], size: int) -> list[Item]:
    """Equal things in the given columns (px) and rows (0 behind, 1 in front)."""
    rows = _rows(place)
    return [_standing(noun, jitter(rng, x, 3), rows[row] + jitter(rng, 0, 3) - 2, size, depth=row) for x, row in cells]


def several(noun: Noun, place: str, rng: random.Random) -> list[Item]:
    """Two to five of a thing: side by side, or in two rows."""
    if noun.count == 2:
        size = 44 + 4 * int(rng.random() * 2)
        return _beside([noun, noun], place, rng, (jitter(rng, 34, 4), jitter(rng, 94, 4)), size)
    cut = rng.random() < 0.5
    if noun.count == 3 and cut:
        y = jitter(rng, 80, 14)
        return [_item(noun, x + jitter(rng, 0, 2), y + jitter(rng, 0, 5), 36) for x in (22, 64, 106)]
    if noun.count == 3:
        up = int(rng.random() < 0.5)
        return _grid(noun, place, rng, ((34, up), (94, up), (64, 1 - up)), 40)
    return _grid(noun, place, rng, GRIDS[noun.count][cut], 36 if noun.count == 4 else 32)


def groups(nouns: Sequence[Noun], place: str, rng: random.Random) -> list[Item]:
    """One or two of each of two things, the first kind on the left."""
    items: list[Item] = []
    for noun, x in zip(nouns, (32, 96), strict=True):
        cells = ((x - 4, 0), (x + 4, 1)) if noun.count == 2 else ((x, 1),)
        items += _grid(noun, place, rng, cells, 36 if noun.count == 2 else 40)
    return items


def whole(nouns: Sequence[Noun], place: str, rng: random.Random) -> list[Item]:
    """Up to four different things, scattered, and smaller the further away they are."""
    columns = [22 + 84 * k // (len(nouns) - 1) for k in range(len(nouns))] if len(nouns) > 1 else [64] * len(nouns)
    rng.shuffle(columns)
    items = []
    for noun, column in zip(nouns, columns, strict=True):
        x = min(max(jitter(rng, column, 5), 20), SIZE - 20)
        if _flies(noun, place, rng):
            items.append(_item(noun, x, jitter(rng, 26, 6), 32 + 4 * int(rng.random() * 2)))
        elif place in GROUND:
            near = rng.random()
            base = round(GROUND[place] + 8 + near * (120 - GROUND[place] - 8))
            items.append(_standing(noun, x, base, 32 + 4 * round(4 * near), depth=base))
        else:
            items.append(_item(noun, x, jitter(rng, 64, 32), 32 + 4 * int(rng.random() * 3)))
    return items


def moving(nouns: Sequence[Noun], move: Move, place: str, rng: random.Random) -> list[Item]:
    """One frame of a motion: things look in the direction they go, and those that fall or rise are in the air."""
    motion = MOTIONS[move.name]
    if motion.other:
        left, right = pair(nouns, "left", place, rng)
        ahead = replace(left, flip=flipped(left.thing, "right"))
        if move.name == "cross":
            return [ahead, replace(right, flip=flipped(right.thing, "left"))]
        return [ahead, right]
    (one,) = alone(nouns[0], place, rng)
    x = jitter(rng, 64, 26)
    one = replace(one, x=x, flip=flipped(one.thing, move.direction))
    if motion.aloft:
        one = replace(one, y=jitter(rng, 46, 10))
    if move.name == "spin":
        return [replace(one, size=min(one.size, 60), turn=TURNS[int(rng.random() * len(TURNS))])]
    return [one]
