"""The grammar of captions: what is in a scene, said in several ways."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from scorefield.data.things import BY_NAME, NUMBERS, PLACES, PLAIN_STYLE, RELATIONS, STYLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """What a caption says of one kind of thing: 'two small red cars', 'a man wearing a hat'."""

    thing: str
    count: int = 1
    colour: str | None = None
    size: str | None = None
    worn: str | None = None  # what it wears
    bare: bool = False  # said to be without a hat


def article(words: str) -> str:
    """'a' or 'an' before `words`."""
    vowel = words[0] in "aeiou" and not words.startswith(("un", "one"))
    return "an" if vowel or words.startswith("umb") else "a"


def _pick(rng: random.Random, phrases: Sequence[str]) -> str:
    """One of `phrases`; the first is said twice as often."""
    return phrases[max(0, int(rng.random() * (len(phrases) + 1)) - 1)]


def noun_phrase(noun: Noun, rng: random.Random) -> str:
    """The noun with its number or article, size, colour and hat."""
    thing = BY_NAME[noun.thing]
    if noun.count == 1:
        name = _pick(rng, (thing.name, thing.name, *thing.synonyms)) if thing.synonyms else thing.name
        words = " ".join(word for word in (noun.size, noun.colour, name) if word)
        words = f"{article(words) if rng.random() < 0.92 else 'one'} {words}"
    else:
        words = " ".join(word for word in (NUMBERS[noun.count - 1], noun.size, noun.colour, thing.plural) if word)
    if noun.worn:
        clause = _pick(rng, ("wearing a {}", "with a {}", "in a {}"))
        return f"{words} {clause.format(noun.worn)}"
    return f"{words} without a hat" if noun.bare else words


def caption(
    nouns: Sequence[Noun], relation: str | None, place: str | None, style: str | None, rng: random.Random
) -> str:
    """One caption: style, noun or nouns with their relation, place; a part that is None is left unsaid."""
    said = [noun_phrase(noun, rng) for noun in nouns]
    if relation is None:
        middle = " and ".join(said)
    else:
        verb = "is " if rng.random() < 0.15 else ""
        middle = f"{said[0]} {verb}{_pick(rng, RELATIONS[relation])} {said[1]}"
    opening = _pick(rng, STYLES[style]) if style else PLAIN_STYLE[int(rng.random() * len(PLAIN_STYLE))]
    words = f"{opening} {middle}".strip()
    if place is None:
        return words
    where = _pick(rng, PLACES[place])
    return f"{where}, {words}" if rng.random() < 0.06 else f"{words} {where}"
