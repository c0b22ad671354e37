"""The films data set: film `index` of `seed` is always the same captioned film of moving things.

Some training films are wrong (blurred, still, backwards, ...). The captions of most say so, which gives a negative
prompt its meaning; those of the others do not, as in any large collection of films.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scorefield.data.asked import choose
from scorefield.data.captions import Move, Noun
from scorefield.data.casts import ROLES
from scorefield.data.colours import COLOURS
from scorefield.data.film_captions import film_caption
from scorefield.data.motions import FAULTS, MOTIONS, Direction, Pace
from scorefield.data.places import VARIANTS
from scorefield.data.scenes import HIDDEN, Scene, Split
from scorefield.data.scripts import Script, Track, tracks
from scorefield.data.splits import held_out_motion
from scorefield.data.things import COLOURED

FilmTask = Literal["alone", "meet", "cross", "riding", "holding", "weather", "silent"]

FILM_TASKS: dict[FilmTask, float] = {  # share of each in the stream of films; a silent one has no words
    "alone": 0.62,
    "meet": 0.09,
    "cross": 0.08,
    "riding": 0.08,
    "holding": 0.07,
    "weather": 0.03,
    "silent": 0.03,
}
ALONE = tuple(name for name in ROLES if name in MOTIONS and not MOTIONS[name].other)
JUDGED: tuple[FilmTask, ...] = ("alone", "meet", "cross", "riding", "holding", "weather")
WRONG = 0.22  # of the training films; a third of them is not said to be wrong
UNSAID = 1 / 3
PLACED = 0.75  # of the captions name the place
DIRECTED = 0.85  # of the captions of what goes to the left or the right say so


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One captioned film, as data; `nouns`, `relation` and `move` are those of a caption with all its words."""

    task: FilmTask
    caption: str
    nouns: tuple[Noun, ...]
    relation: str | None
    move: Move | None
    place: str
    place_said: bool
    variant: int
    script: Script
    tracks: tuple[Track, ...]
    faults: tuple[str, ...] = ()

    def frame(self, k: int) -> Scene:
        """What frame `k` shows before anything went wrong."""
        return Scene(
            task="motion", caption=self.caption, nouns=self.nouns, relation=self.relation, place=self.place,
            place_said=self.place_said, style=None, variant=self.variant, items=tuple(one[k] for one in self.tracks),
            move=self.move,
        )  # fmt: skip


def held_out(nouns: Sequence[Noun], name: str, place: str) -> bool:
    """Whether thing x motion x place is never trained on, for one of the things."""
    return any(held_out_motion(noun.thing, name, place) for noun in nouns)


def _asked(task: FilmTask, rng: random.Random) -> tuple[str, tuple[Noun, ...]]:
    """The name of a role, and who plays it."""
    name = task if task in ROLES else choose(rng, ALONE)
    role = ROLES[name]
    first = choose(rng, role.things)
    things = [first]
    if role.others:
        things.append(choose(rng, tuple(other for other in role.others if other != first)))
    if task == "weather" and rng.random() < 0.5:
        return name, ()
    coloured = not role.others and first in COLOURED and rng.random() < 0.15
    colour = choose(rng, tuple(COLOURS)) if coloured else None
    return name, tuple(Noun(thing=thing, colour=colour) for thing in things)


def _faults(rng: random.Random) -> tuple[str, ...]:
    """What is wrong with a training film, if anything is."""
    if rng.random() >= WRONG:
        return ()
    return tuple(sorted(rng.sample(tuple(FAULTS), 2 if rng.random() < 0.25 else 1)))


def _move(name: str, direction: Direction, pace: Pace | None, rng: random.Random) -> Move | None:
    """The motion as a caption says it; a relation of two things is none."""
    if name not in MOTIONS:
        return None
    says = MOTIONS[name].sideways and not MOTIONS[name].other and rng.random() < DIRECTED
    return Move(name=name, direction=direction if says else None, pace=pace)


def _attempt(task: FilmTask, split: Split, rng: random.Random) -> Film | None:
    """One draw; None if it falls into the other split."""
    drawn = rng.choices(JUDGED, [FILM_TASKS[one] for one in JUDGED])[0] if task == "silent" else task
    name, nouns = _asked(drawn, rng)
    place = choose(rng, ROLES[name].places)
    if held_out(nouns, name, place) != (split == "heldout") or any((noun.colour, place) in HIDDEN for noun in nouns):
        return None
    direction: Direction = "left" if rng.random() < 0.5 else "right"
    paced = rng.random() < 0.12 and name in MOTIONS and MOTIONS[name].sideways and not MOTIONS[name].other
    pace: Pace | None = ("slow" if rng.random() < 0.5 else "fast") if paced else None
    script = Script(name=name, place=place, direction=direction, pace=pace)
    relation, move = name if name in ("riding", "holding") else None, _move(name, direction, pace, rng)
    place_said = name == "weather" or rng.random() < PLACED
    faults = _faults(rng) if split == "train" else ()
    said = () if rng.random() < UNSAID else faults
    text = ""
    if task != "silent":
        where = place if place_said else None
        text = film_caption(nouns, relation, move, where, rng, weather=name == "weather", faults=said)
    return Film(
        task=task, caption=text, nouns=nouns, relation=relation, move=move, place=place, place_said=place_said,
        variant=int(rng.random() * VARIANTS), script=script, tracks=tracks(nouns, script, rng), faults=faults,
    )  # fmt: skip


def film(index: int, seed: int = 0, split: Split = "train", task: FilmTask | None = None) -> Film:
    """Film `index` of `seed`, which is always the same; of any task, or of the one given.

    The `heldout` split has only things in motions and places, as combinations, that `train` never shows; nothing is
    wrong with its films.
    """
    rng = random.Random(f"film/{split}/{task}/{seed}/{index}")
    chosen = task or rng.choices(tuple(FILM_TASKS), tuple(FILM_TASKS.values()))[0]
    while True:
        found = _attempt(chosen, split, rng)
        if found is not None:
            return found
