"""Every word that the grammar of captions can say, by kind."""

from scorefield.data.things import COLOURS, NUMBERS, PLACES, PLAIN_STYLE, RELATIONS, SIZES, STYLES, THINGS, WORN

GRAMMAR = ("a", "an", "and", "is", "wearing", "with", "without", "in", ",")


def kinds() -> dict[str, tuple[str, ...]]:
    """Kind -> the phrases that a prompt may use for it."""
    return {
        "things": tuple(name for thing in THINGS for name in (thing.name, *thing.synonyms)),
        "plurals": tuple(thing.plural for thing in THINGS),
        "colours": tuple(COLOURS),
        "places": tuple(phrase for phrases in PLACES.values() for phrase in phrases),
        "relations": tuple(phrase for phrases in RELATIONS.values() for phrase in phrases),
        "styles": tuple(phrase for phrases in (*STYLES.values(), PLAIN_STYLE) for phrase in phrases if phrase),
        "sizes": SIZES,
        "numbers": NUMBERS,
        "worn": tuple(WORN),
    }


def words() -> list[str]:
    """The vocabulary, sorted."""
    return sorted({word for phrases in (*kinds().values(), GRAMMAR) for phrase in phrases for word in phrase.split()})
