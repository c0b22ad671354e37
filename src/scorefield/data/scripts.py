"""The scripts of films: where each thing is in every frame, by the motion."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from scorefield.data.captions import Noun
from scorefield.data.layout import Item, jitter
from scorefield.data.motions import Direction, Pace, flipped
from scorefield.data.places import GROUND
from scorefield.data.sprites import sides

FRAMES = 17
FPS = 8
LAST = FRAMES - 1
LARGE, PAIRED = 48, 42  # px: the longer side of a lone thing, and of each of two

Track = tuple[Item, ...]  # a thing, frame by frame
Course = Callable[[float], tuple[float, float]]  # 0..1 of the film -> px from the start: to the right, down


@dataclass(frozen=True, slots=True, kw_only=True)
class Gait:
    """How a thing gets along: its way in px, its bobbing in px and how often it bobs, and whether it rolls."""

    way: int
    bob: float = 0
    beats: float = 0
    rolls: bool = False


GAITS: dict[str, Gait] = {
    "drive": Gait(way=72),
    "walk": Gait(way=52, bob=2, beats=4),
    "run": Gait(way=76, bob=5, beats=4),
    "traverse": Gait(way=68, bob=2, beats=4),
    "swim": Gait(way=60, bob=4, beats=1),
    "sail": Gait(way=56, bob=3, beats=1),
    "fly": Gait(way=72, bob=5, beats=1),
    "roll": Gait(way=72, rolls=True),
}
PACED: dict[Pace | None, float] = {"slow": 0.6, None: 1.0, "fast": 1.12}  # times the way
SIGN: dict[Direction, int] = {"left": -1, "right": 1}
DROP, KEPT = 0.24, 0.6  # of a bounce: the share of the film until the first, and the height that each leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What decides a film's course: a motion or a relation, the place, the way it goes, and how fast."""

    name: str
    place: str
    direction: Direction
    pace: Pace | None = None


def _track(item: Item, course: Course) -> Track:
    steps = [course(k / LAST) for k in range(FRAMES)]
    return tuple(replace(item, x=item.x + round(right), y=item.y + round(down)) for right, down in steps)


def _still(item: Item) -> Track:
    return (item,) * FRAMES


def _height(noun: Noun, size: int) -> int:
    return sides(noun.thing, size, noun.worn)[1]


def _placed(noun: Noun, x: int, foot: int, size: int, direction: Direction | None = None, depth: int = 0) -> Item:
    """The thing with its foot on row `foot`, facing its way."""
    return Item(
        thing=noun.thing, x=x, y=foot - _height(noun, size) // 2, size=size, colour=noun.colour, worn=noun.worn,
        flip=flipped(noun.thing, direction), depth=depth,
    )  # fmt: skip


def _foot(place: str, height: int, rng: random.Random) -> int:
    """The row where a thing of `height` px ends at the bottom, standing or floating."""
    return jitter(rng, 114, 5) if place in GROUND else jitter(rng, 72, 12) + height // 2


def _along(sign: int, gait: Gait, way: float) -> Course:
    """Sideways at an even speed, bobbing."""

    def course(t: float) -> tuple[float, float]:
        beat = math.sin(math.pi * gait.beats * t)
        return sign * way * t, -gait.bob * (abs(beat) if gait.beats > 1 else beat)

    return course


def _turned(track: Track, sign: int) -> Track:
    """A track of a round thing that rolls along the ground, in steps of 15 degrees; what turns is not mirrored."""
    start = track[0].x
    turns = (round(-(item.x - start) / (math.pi * item.size) * 24) * 15 % 360 for item in track)
    return tuple(replace(item, turn=turn, flip=False) for item, turn in zip(track, turns, strict=True))


def _across(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    (noun,), gait, sign = nouns, GAITS[script.name], SIGN[script.direction]
    way = gait.way * PACED[script.pace]
    height = _height(noun, LARGE)
    foot = jitter(rng, 34, 8) + height // 2 if script.name == "fly" else _foot(script.place, height, rng)
    item = _placed(noun, round(jitter(rng, 64, 4) - sign * way / 2), foot, LARGE, script.direction)
    track = _track(item, _along(sign, gait, way))
    return [_turned(track, sign) if gait.rolls else track]


def _rise(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    (noun,), height = nouns, _height(nouns[0], LARGE)
    item = _placed(noun, jitter(rng, 64, 24), jitter(rng, 116, 4), LARGE)
    way = item.y - height // 2 - jitter(rng, 8, 4)
    return [_track(item, lambda t: (3 * math.sin(2 * math.pi * t), -way * t))]


def _leave(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    (noun,), sign = nouns, SIGN[script.direction]
    height = _height(noun, LARGE)
    item = _placed(noun, jitter(rng, 64 - 20 * sign, 8), _foot(script.place, height, rng), LARGE, script.direction)
    way, drift = item.y + height // 2 + 4, 44 * sign

    def course(t: float) -> tuple[float, float]:
        gone = max(0.0, t - 0.1) / 0.8
        return drift * gone**1.5, -way * gone**1.8

    return [_track(item, course)]


def _land(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    (noun,), sign = nouns, SIGN[script.direction]
    foot = _foot(script.place, _height(noun, LARGE), rng)
    item = _placed(noun, jitter(rng, 64 + 14 * sign, 6), foot, LARGE, script.direction)
    way = item.y - jitter(rng, 24, 4)

    def course(t: float) -> tuple[float, float]:
        left = max(0.0, 1 - t / 0.85) ** 1.4
        return -36 * sign * left, -way * left

    return [_track(item, course)]


def _fall(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    (noun,) = nouns
    item = _placed(noun, jitter(rng, 64, 24), jitter(rng, 116, 4), PAIRED)
    way = item.y - jitter(rng, 22, 3)
    return [_track(item, lambda t: (0, -way * (1 - min(1.0, t / 0.8) ** 2)))]


def _bounced(t: float) -> float:
    """The height above the ground, 1 at t = 0, of a thing that is dropped and bounces, each time lower."""
    if t < DROP:
        return 1 - (t / DROP) ** 2
    t, height = t - DROP, KEPT
    while t > (span := 2 * DROP * math.sqrt(height)):
        t, height = t - span, height * KEPT
    return height * 4 * (t / span) * (1 - t / span)


def _bounce(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    (noun,) = nouns
    item = _placed(noun, jitter(rng, 64, 24), jitter(rng, 116, 4), PAIRED - 6)
    way = item.y - jitter(rng, 24, 3)
    return [_track(item, lambda t: (0, -way * _bounced(t)))]


def _meet(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    sign = SIGN[script.direction]
    foot = _foot(script.place, PAIRED, rng)
    end = 64 + sign * jitter(rng, 36, 3)
    towards: Direction = "left" if sign > 0 else "right"
    waiting = _placed(nouns[1], end, foot + jitter(rng, 0, 2), PAIRED, towards)
    coming = _placed(nouns[0], 64 - sign * jitter(rng, 40, 3), foot, PAIRED, script.direction)
    way = abs(end - coming.x) - PAIRED + 4
    walk = _along(sign, GAITS["walk"], way)
    return [_track(coming, lambda t: walk(min(1.0, t / 0.85))), _still(waiting)]


def _cross(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    sign, foot = SIGN[script.direction], jitter(rng, 118, 3)
    back: Direction = "left" if sign > 0 else "right"
    way = jitter(rng, 76, 4)
    near = _placed(nouns[0], 64 - sign * way // 2, foot, PAIRED, script.direction, depth=1)
    far = _placed(nouns[1], 64 + sign * way // 2, foot - 26, PAIRED - 4, back)
    gait = GAITS["drive"]
    return [_track(near, _along(sign, gait, way)), _track(far, _along(-sign, gait, way))]


def _riding(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    sign, gait = SIGN[script.direction], Gait(way=48, bob=4, beats=4)
    mount = _placed(
        nouns[1], 64 - sign * gait.way // 2 + jitter(rng, 0, 4), _foot(script.place, 56, rng), 56, script.direction
    )
    height = _height(nouns[1], 56)
    rider = _placed(nouns[0], mount.x, mount.y - height // 2 + round(0.35 * height) + 2, 38, script.direction, depth=1)
    course = _along(sign, gait, gait.way)
    return [_track(rider, course), _track(mount, course)]


def _holding(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    sign, size = SIGN[script.direction], 60
    holder = _placed(nouns[0], jitter(rng, 64 - 10 * sign, 6), _foot(script.place, size, rng), size)
    width = sides(nouns[0].thing, size)[0]
    held = _placed(nouns[1], holder.x + sign * round(0.42 * width + 8), holder.y + 34, 32, depth=1)
    return [_still(holder), _track(held, lambda t: (0, -34 * min(1.0, t / 0.8)))]


def _weather(nouns: Sequence[Noun], script: Script, rng: random.Random) -> list[Track]:
    """Things that stand while the weather falls."""
    return [_still(_placed(noun, jitter(rng, 64, 16), jitter(rng, 114, 5), 60)) for noun in nouns]


SCRIPTS: dict[str, Callable[[Sequence[Noun], Script, random.Random], list[Track]]] = {
    **dict.fromkeys(GAITS, _across),
    "rise": _rise,
    "leave": _leave,
    "land": _land,
    "fall": _fall,
    "bounce": _bounce,
    "meet": _meet,
    "cross": _cross,
    "riding": _riding,
    "holding": _holding,
    "weather": _weather,
}


def tracks(nouns: Sequence[Noun], script: Script, rng: random.Random) -> tuple[Track, ...]:
    """The track of each thing, in the order of the nouns."""
    return tuple(SCRIPTS[script.name](nouns, script, rng))
