"""The grammar of captions, which describes a scene in several ways."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scorefield.data.colours import WORDS
from scorefield.data.motions import DIRECTIONS, MOTIONS, OPENINGS, PACES, Direction, Pace
from scorefield.data.phrases import (
    MOODS,
    NO_VERB,
    NUMBERS,
    PLACES,
    PLAIN_STYLE,
    POSES,
    QUALITIES,
    RELATIONS,
    SEVERAL,
    SIZES,
    STYLE_TAILS,
    STYLES,
    VIEWS,
)
from scorefield.data.splits import MIRROR
from scorefield.data.things import BY_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """A caption's description of one kind of thing: 'two small red cars', 'a man wearing a hat'."""

    thing: str
    count: int = 1
    counted: bool = True  # the caption names the number; otherwise it says only that there are several
    colour: str | None = None
    size: str | None = None
    worn: str | None = None  # its headgear
    bare: bool = False  # the caption says that it has no hat


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A motion in a caption: its name in MOTIONS, and its direction and pace, if it has one."""

    name: str
    direction: Direction | None = None
    pace: Pace | Literal["unseen"] | None = None  # a picture does not show it, so its caption may name any


def article(words: str) -> str:
    """'a' or 'an' before `words`."""
    vowel = words[0] in "aeiou" and not words.startswith(("un", "one", "ufo"))
    return "an" if vowel or words.startswith("umb") else "a"


def _pick(rng: random.Random, phrases: Sequence[str]) -> str:
    """One of `phrases`; the first is twice as likely as each other."""
    return phrases[max(0, int(rng.random() * (len(phrases) + 1)) - 1)]


def _any(rng: random.Random, phrases: Sequence[str]) -> str:
    return phrases[int(rng.random() * len(phrases))]


def _described(noun: Noun, name: str, rng: random.Random) -> str:
    """The name with its adjectives: size, a mood that no picture shows, colour."""
    size = _pick(rng, SIZES[noun.size]) if noun.size else ""
    mood = _any(rng, MOODS) if rng.random() < 0.07 else ""
    colour = _pick(rng, WORDS[noun.colour]) if noun.colour else ""
    return " ".join(word for word in (size, mood, colour, name) if word)


def _determined(words: str, rng: random.Random) -> str:
    """The words of one thing after an article, or another word in its place."""
    roll = rng.random()
    if roll < 0.84:
        return f"{article(words)} {words}"
    return f"one {words}" if roll < 0.9 else f"the {words}" if roll < 0.95 else f"my {words}" if roll < 0.97 else words


def noun_phrase(noun: Noun, rng: random.Random) -> str:
    """The noun with its number or article, size, colour and hat."""
    thing = BY_NAME[noun.thing]
    if noun.count == 1:
        name = _pick(rng, (thing.name, thing.name, *thing.synonyms)) if thing.synonyms else thing.name
        words = _determined(_described(noun, name, rng), rng)
    else:
        number = "a pair of" if noun.count == 2 and rng.random() < 0.06 else NUMBERS[noun.count - 1]
        number = number if noun.counted else _any(rng, SEVERAL)
        words = f"{number} {_described(noun, _pick(rng, (thing.plural, *thing.plurals)), rng)}".strip()
    if noun.worn:
        worn = f"{article(noun.worn)} {noun.worn}" if noun.count == 1 else f"{noun.worn}s"
        return f"{words} {_pick(rng, ('wearing {}', 'with {}', 'in {}')).format(worn)}"
    return f"{words} without a hat" if noun.bare else words


def _listed(said: Sequence[str]) -> str:
    """'a cat', 'a cat and a dog', 'a cat, a dog and a bird'."""
    head, last = ", ".join(said[:-1]), said[-1]
    return f"{head} and {last}" if head else last


def _paced(move: Move, rng: random.Random) -> str:
    """A word for the pace, or none."""
    if move.pace != "unseen":
        return _any(rng, PACES[move.pace]) if move.pace else ""
    motion = MOTIONS[move.name]
    paced = motion.sideways or motion.aloft or move.name == "spin"
    return _any(rng, tuple(word for words in PACES.values() for word in words)) if paced and rng.random() < 0.15 else ""


def _moving(said: Sequence[str], move: Move, rng: random.Random) -> tuple[str, bool]:
    """The nouns with their motion, and whether that is a whole sentence."""
    motion = MOTIONS[move.name]
    verb, participle = motion.verbs[int(rng.random() * len(motion.verbs))]
    roll = rng.random()
    if move.name == "cross":
        does = verb if roll < 0.5 else participle if roll < 0.75 else f"are {participle}"
        return f"{_listed(said)} {does}", does != participle
    does = verb if roll < 0.5 else participle if roll < 0.75 else f"is {participle}"
    where = f" {_any(rng, DIRECTIONS[move.direction])}" if move.direction else ""
    speed = f" {pace}" if (pace := _paced(move, rng)) else ""
    whom = f"{f' {_any(rng, motion.other)}'.rstrip()} {said[1]}" if motion.other else ""
    return f"{said[0]} {does}{whom}{where}{speed}", does != participle


def _related(said: Sequence[str], relation: str, rng: random.Random) -> tuple[str, bool]:
    """The nouns with their relation, and whether that is a whole sentence."""
    if relation in ("left", "right") and rng.random() < 0.15:
        return f"{said[0]} on the {relation} and {said[1]} on the {MIRROR[relation]}", False
    verb = "is " if relation not in NO_VERB and rng.random() < 0.15 else ""
    return f"{said[0]} {verb}{_pick(rng, RELATIONS[relation])} {said[1]}", bool(verb)


def _styled(words: str, style: str, rng: random.Random) -> str:
    """The words with their style, before them, or at either end with a comma."""
    roll, tail = rng.random(), _any(rng, STYLE_TAILS[style])
    if roll < 0.5:
        return f"{_pick(rng, STYLES[style])} {words}"
    return f"{words}, {tail}" if roll < 0.8 else f"{words} {tail}" if roll < 0.9 else f"{tail}, {words}"


def caption(
    nouns: Sequence[Noun],
    relation: str | None,
    place: str | None,
    style: str | None,
    rng: random.Random,
    move: Move | None = None,
    *,
    film: bool = False,
) -> str:
    """One caption: style, nouns with their relation or motion, place; a part that is None is left out.

    It may call what it describes a film if that has a motion, or is a `film`.
    """
    said = [noun_phrase(noun, rng) for noun in nouns]
    where = _pick(rng, PLACES[place]) if place is not None else ""
    if not said:
        return f"{_any(rng, VIEWS)} {where}".strip() if where else ""
    middle, sentence = _listed(said), False
    if move is not None:
        middle, sentence = _moving(said, move, rng)
    elif relation is not None:
        middle, sentence = _related(said, relation, rng)
    elif len(said) == 1 and BY_NAME[nouns[0].thing].kind in ("animal", "bird", "person") and rng.random() < 0.08:
        middle = f"{middle} {_any(rng, POSES)}"
    before = where and rng.random() < 0.06
    if where and not before:
        middle = f"{middle} {where}"
    if style is not None:
        middle = _styled(middle, style, rng)
    elif not sentence:
        opening = _any(rng, OPENINGS) if (film or move is not None) and rng.random() < 0.4 else _any(rng, PLAIN_STYLE)
        middle = f"{opening} {middle}".strip()
    if before:
        middle = f"{where}, {middle}"
    return f"{middle}, {_any(rng, QUALITIES)}" if style is None and rng.random() < 0.04 else middle
