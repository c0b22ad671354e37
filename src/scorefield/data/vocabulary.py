"""Every word of the grammar of captions, by kind, for pictures and films."""

from collections.abc import Mapping
from typing import Any

from scorefield.data.casts import FILM_PLACES, FILM_THINGS, ROLES
from scorefield.data.colours import WORDS
from scorefield.data.motions import DIRECTIONS, FAULTS, MOTIONS, OPENINGS, PACES, WEATHER
from scorefield.data.phrases import (
    GRAMMAR,
    MOODS,
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
from scorefield.data.things import BY_NAME, THINGS, WORN


def _all(table: Mapping[Any, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(phrase for phrases in table.values() for phrase in phrases)


def kinds() -> dict[str, tuple[str, ...]]:
    """Kind -> the phrases that a prompt may use for it."""
    motions = [motion for one in MOTIONS.values() for motion in (*one.verbs, one.other)]
    styles = dict.fromkeys((*_all(STYLES), *_all(STYLE_TAILS), *PLAIN_STYLE))
    return {
        "things": tuple(name for thing in THINGS for name in (thing.name, *thing.synonyms)),
        "plurals": tuple(dict.fromkeys(plural for thing in THINGS for plural in thing.plurals)),
        "colours": _all(WORDS),
        "places": _all(PLACES),
        "relations": _all(RELATIONS),
        "styles": tuple(phrase for phrase in styles if phrase),
        "qualities": QUALITIES,
        "sizes": _all(SIZES),
        "moods": MOODS,
        "poses": POSES,
        "views": tuple(phrase for phrase in VIEWS if phrase),
        "numbers": (*NUMBERS, *(phrase for phrase in SEVERAL if phrase)),
        "worn": (*WORN, *(f"{worn}s" for worn in WORN)),
        "motions": tuple(dict.fromkeys(phrase for phrases in motions for phrase in phrases if phrase)),
        "directions": (*_all(DIRECTIONS), *_all(PACES)),
        "films": (*OPENINGS, *_all(WEATHER), *_all(FAULTS)),
    }


def film_kinds() -> dict[str, tuple[str, ...]]:
    """Kind -> the phrases that films are captioned with, which are fewer."""
    verbs = [verb for name in ROLES if name in MOTIONS for both in MOTIONS[name].verbs for verb in both]
    return {
        "things": tuple(name for thing in FILM_THINGS for name in (thing, *BY_NAME[thing].synonyms)),
        "motions": tuple(dict.fromkeys(verbs)),
        "relations": _all({name: RELATIONS[name] for name in ROLES if name in RELATIONS}),
        "directions": (*_all(DIRECTIONS), *_all(PACES)),
        "places": _all({place: PLACES[place] for place in FILM_PLACES}),
        "colours": _all(WORDS),
        "films": (*OPENINGS, *_all(WEATHER), *_all(FAULTS)),
    }


def words() -> list[str]:
    """The vocabulary, sorted."""
    return sorted({word for phrases in (*kinds().values(), GRAMMAR) for phrase in phrases for word in phrase.split()})
