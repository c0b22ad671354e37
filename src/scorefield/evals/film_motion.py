"""The motion of things from where they are in each frame, and whether it is the one that a caption names."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from scorefield.data.film_scenes import Film
from scorefield.data.motions import Direction
from scorefield.data.scripts import GAITS, LAST
from scorefield.evals.judge import Found, Seen
from scorefield.evals.verdict import HELD, holds

Course = Literal["left", "right", "up", "down", "off", "bounce", "still", "unclear"]

LEAST = 18.0  # px: a shorter way is none
QUIET = 10.0  # px: how far a still thing may appear to move
SWING = 8.0  # px: a smaller turn up or down is none
LIFTED = 12.0  # px: the least lift of a held thing
CLOSER = 12.0  # px: the least by which one thing approaches another
TOUCH = 68.0  # px: the most between the centres of two that met
GONE = 44.0  # px: the lowest row of the last sight of what flies off
OFTEN = 0.5  # share of the frames in which a thing must be seen, and a relation hold
RARELY = 0.3  # the same for what flies off


class FilmSeen(NamedTuple):
    """The findings in a film: those of every frame, which way things face, and whether weather falls or rises."""

    frames: tuple[Seen, ...]
    faces: Mapping[str, Direction]  # thing -> the way it faces, if its two sides differ
    falls: bool | None = None  # None: nothing falls, or nobody looked


class At(NamedTuple):
    """Where a thing is in one frame, px."""

    frame: int
    x: float
    y: float


def path(frames: Sequence[Seen], thing: str) -> list[At]:
    """The places of the surest thing of that name, of the frames that show it."""
    sure = ((k, max((one for one in seen.found if one.thing == thing), key=_score, default=None))
            for k, seen in enumerate(frames))  # fmt: skip
    return [At(k, one.x, one.y) for k, one in sure if one is not None]


def _score(found: Found) -> float:
    return found.score


def shift(at: Sequence[At]) -> tuple[float, float]:
    """How far it went to the right and down, px: from the mean of its first two places to that of its last two."""
    ends = at[:2], at[-2:]
    (left, top), (right, bottom) = (
        (sum(one.x for one in some) / len(some), sum(one.y for one in some) / len(some)) for some in ends
    )
    return right - left, bottom - top


def _turns(rows: Sequence[float]) -> list[float]:
    """The rows where it turns round, up or down, and its last; turns of less than SWING px are none."""
    kept = [rows[0]]
    for row in rows[1:]:
        onward = len(kept) > 1 and (row - kept[-1]) * (kept[-1] - kept[-2]) > 0
        if onward:
            kept[-1] = row
        elif abs(row - kept[-1]) >= SWING:
            kept.append(row)
    return kept


def _bounces(at: Sequence[At]) -> bool:
    """Whether it drops, and goes up and down again, lower each time."""
    turns = _turns([one.y for one in at])
    ways = [after - before for before, after in pairwise(turns)]
    tops = turns[::2]
    return len(ways) >= 3 and ways[0] > 0 and all(before < after - 1 for before, after in pairwise(tops[:2]))


def course(at: Sequence[At]) -> Course:
    """The course of a thing that is seen at least twice."""
    right, down = shift(at)
    if _bounces(at) and abs(right) < LEAST:
        return "bounce"
    if at[-1].frame < LAST and down <= -LEAST and at[-1].y <= GONE:
        return "off"
    if abs(down) >= LEAST and abs(down) > 0.8 * abs(right):
        return "up" if down < 0 else "down"
    if abs(right) >= LEAST:
        return "left" if right < 0 else "right"
    still = all(max(values) - min(values) < QUIET for values in ([one.x for one in at], [one.y for one in at]))
    return "still" if still else "unclear"


WANTED: dict[str, Course] = {"rise": "up", "leave": "off", "land": "down", "fall": "down", "bounce": "bounce"}


def _goes(film: Film, paths: Sequence[list[At]]) -> str | None:
    """The fault of a film of one thing."""
    seen, name = course(paths[0]), film.script.name
    if name in GAITS:
        wanted = (film.move and film.move.direction) or "left or right"
        return None if seen in ("left", "right") and seen in wanted else f"goes {seen} instead of {wanted}"
    return None if seen == WANTED[name] else f"goes {seen} instead of {WANTED[name]}"


def _together(paths: Sequence[list[At]]) -> list[tuple[At, At]]:
    """The places of two things in the frames that show both."""
    second = {one.frame: one for one in paths[1]}
    return [(one, second[one.frame]) for one in paths[0] if one.frame in second]


def _meets(film: Film, paths: Sequence[list[At]]) -> str | None:
    gaps = [abs(one.x - other.x) for one, other in _together(paths)]
    if len(gaps) < 2 or gaps[0] - gaps[-1] < CLOSER or gaps[-1] > TOUCH:
        return "does not come near"
    coming, waiting = (abs(shift(one)[0]) for one in paths)
    return None if coming >= LEAST and coming > 2 * waiting else "does not go where the other is"


def _crosses(film: Film, paths: Sequence[list[At]]) -> str | None:
    one, other = (shift(each)[0] for each in paths)
    if min(abs(one), abs(other)) < LEAST or one * other > 0:
        return "do not go opposite ways"
    sides = [first.x < second.x for first, second in _together(paths)]
    return None if sides and sides[0] != sides[-1] else "do not pass each other"


def _rides(film: Film, paths: Sequence[list[At]]) -> str | None:
    rider, mount = (shift(each)[0] for each in paths)
    if min(abs(rider), abs(mount)) < LEAST or rider * mount < 0:
        return "do not go along together"
    mounted = [holds(_found(one), _found(other), "riding") for one, other in _together(paths)]
    return None if sum(mounted) >= OFTEN * len(mounted) > 0 else "does not sit on the other"


def _lifts(film: Film, paths: Sequence[list[At]]) -> str | None:
    near = [holds(_found(one), _found(other), "holding") for one, other in _together(paths)]
    if sum(near) < OFTEN * len(near) or not near:
        return f"is not held, within {HELD:g} px"
    (_, holder), (_, held) = (shift(each) for each in paths)
    return None if held - holder <= -LIFTED else "is not lifted"


def _found(at: At) -> Found:
    return Found("", at.x, at.y, 1.0, None, None)


RULES: dict[str, Callable[[Film, Sequence[list[At]]], str | None]] = {
    "meet": _meets,
    "cross": _crosses,
    "riding": _rides,
    "holding": _lifts,
}


def _backwards(film: Film, paths: Mapping[str, list[At]], faces: Mapping[str, Direction]) -> str | None:
    """Who goes to one side and faces the other; what turns faces no side."""
    for thing, at in paths.items():
        right, _ = shift(at)
        way = "right" if right > 0 else "left"
        if abs(right) >= LEAST and film.script.name != "roll" and faces.get(thing, way) != way:
            return f"the {thing} goes backwards"
    return None


def motion_fault(film: Film, seen: FilmSeen) -> str | None:
    """The fault of a film's motion, or None; its things are taken from the film."""
    if film.script.name == "weather":
        return None if seen.falls else "nothing falls"
    paths = {noun.thing: path(seen.frames, noun.thing) for noun in film.nouns}
    if short := next((thing for thing, at in paths.items() if len(at) < 4), None):
        return f"the {short} cannot be followed"
    rule = RULES.get(film.script.name, _goes)
    fault = rule(film, list(paths.values()))
    if fault is not None:
        return f"the {film.nouns[-1 if rule is _lifts else 0].thing} {fault}"
    return _backwards(film, paths, seen.faces)
