"""The captions of films: those of pictures, with weather, and with words for what is wrong."""

import random
from collections.abc import Sequence

from scorefield.data.captions import Move, Noun, caption, noun_phrase
from scorefield.data.casts import FLYERS, VEHICLES, WALKERS
from scorefield.data.motions import FAULTS, WEATHER

_BACKWARDS = {"walking backwards": WALKERS, "driving backwards": VEHICLES, "flying backwards": FLYERS}
_HIDE_MOTION = frozenset({"still", "backwards"})  # faults of films that do not show their motion
_ALONE, _BEFORE = 0.35, 0.3  # shares of the captions of faults: nothing else, and before what the film shows


def weather_caption(nouns: Sequence[Noun], place: str, rng: random.Random) -> str:
    """'snow falls', 'it is raining on a house'."""
    said = rng.choice(WEATHER[place])
    return f"{said} on {noun_phrase(nouns[0], rng)}" if nouns else said


def fault_words(faults: Sequence[str], mover: str | None, rng: random.Random) -> str:
    """The faults in words, separated by commas; the mover walks, drives or flies backwards."""
    words = []
    for fault in faults:
        fits = [word for word in FAULTS[fault] if word not in _BACKWARDS or mover in _BACKWARDS[word]]
        words.append(rng.choice(fits))
    return ", ".join(words)


def film_caption(
    nouns: Sequence[Noun],
    relation: str | None,
    move: Move | None,
    place: str | None,
    rng: random.Random,
    *,
    weather: bool = False,
    faults: Sequence[str] = (),
) -> str:
    """One caption; with faults, these before or after what the film shows, or alone.

    A caption with `weather` says what falls on the things. The caption of a film that
    stands still or runs backwards leaves its motion out.
    """
    shows = not _HIDE_MOTION & set(faults)
    if weather and shows and place is not None:
        text = weather_caption(nouns, place, rng)
    else:
        text = caption(nouns, relation, place, None, rng, move if shows else None, film=True)
    if not faults:
        return text
    wrong, roll = fault_words(faults, nouns[0].thing if move else None, rng), rng.random()
    if roll < _ALONE or not text:
        return wrong
    return f"{wrong}, {text}" if roll < _ALONE + _BEFORE else f"{text}, {wrong}"
