"""A prompt in pieces of one weight each, and the signs in it that a weighting rule does not read."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from scorefield.errors import RequestError

HEAVIEST = 100.0
DEEPEST = 40  # brackets within brackets
_HIDDEN = "\2"  # in place of an unread sign while the others are read


class Piece(NamedTuple):
    """A text and its weight, which is 1 for a text without signs."""

    text: str
    weight: float = 1.0


Part = list[Piece]  # of a prompt: each part begins a new chunk


def merged(pieces: Iterable[Piece], between: str = "") -> Part:
    """The pieces, with neighbours of equal weight joined by `between`; RequestError for a weight beyond 100."""
    part: Part = []
    for weight, same in groupby(pieces, key=lambda piece: piece.weight):
        if not abs(weight) <= HEAVIEST:  # also NaN: 0 times a number that is too long for a float
            raise RequestError(f"a weight of {weight:g} is too large: weights lie between -100 and 100")
        part.append(Piece(between.join(piece.text for piece in same), weight))
    return part or [Piece("")]


def check_depth(depth: int) -> None:
    """RequestError for brackets nested too deep."""
    if depth > DEEPEST:
        raise RequestError(f"brackets in the prompt are nested more than {DEEPEST} deep; write a weight instead")


class Span(NamedTuple):
    """A stretch of a prompt; an unread one is another program's sign, kept as written."""

    text: str
    unread: bool


class Bracket(NamedTuple):
    """An opening bracket, its position, and the positions of the separators at its own level."""

    sign: str
    start: int
    separators: list[int]


def spans(
    prompt: str, signs: re.Pattern[str], pairs: Mapping[str, str], unread: Callable[[str, Bracket, int], bool]
) -> list[Span]:
    """A prompt divided into spans, in one pass.

    `signs` matches brackets, separators (each one character), escapes, and words that are unread by themselves; `pairs`
    maps a closing bracket to its opening one. `unread(prompt, bracket, end)` says whether a bracket with its partner at
    `end` holds something unread; the outermost such pair is one span.
    """
    found: list[tuple[int, int]] = []
    opened: list[Bracket] = []
    for match in signs.finditer(prompt):
        sign = match[0]
        if sign in pairs.values():
            opened.append(Bracket(sign, match.start(), []))
        elif sign in pairs:
            bracket = _partner(opened, pairs[sign])
            if bracket and unread(prompt, bracket, match.start()):
                while found and found[-1][0] > bracket.start:
                    found.pop()
                found.append((bracket.start, match.end()))
        elif len(sign) == 1 and opened:
            opened[-1].separators.append(match.start())
        elif len(sign) > 1 and not sign.startswith("\\"):
            found.append(match.span())
    return list(_divided(prompt, found))


def _partner(opened: list[Bracket], sign: str) -> Bracket | None:
    """The last bracket `sign`, removed from `opened` with the unmatched ones after it; None without one."""
    if all(bracket.sign != sign for bracket in opened[-DEEPEST:]):
        return None
    while (bracket := opened.pop()).sign != sign:
        pass
    return bracket


def _divided(prompt: str, found: Iterable[tuple[int, int]]) -> Iterator[Span]:
    at = 0
    for start, end in found:
        if start > at:
            yield Span(prompt[at:start], unread=False)
        yield Span(prompt[start:end], unread=True)
        at = end
    if at < len(prompt):
        yield Span(prompt[at:], unread=False)


def divided_by(prompt: str, unread: re.Pattern[str]) -> list[Span]:
    """A prompt divided into what `unread` matches and the rest."""
    return list(_divided(prompt, (match.span() for match in unread.finditer(prompt))))


def unread_texts(divided: Iterable[Span]) -> list[str]:
    """The unread signs of a divided prompt."""
    return [span.text for span in divided if span.unread]


def hidden(divided: Iterable[Span]) -> str:
    """The prompt with a mark for each unread sign, so that no other sign's pattern matches inside it."""
    return "".join(_HIDDEN if span.unread else span.text.replace(_HIDDEN, "") for span in divided)


def restored(pieces: Iterable[Piece], divided: Iterable[Span]) -> Iterator[Piece]:
    """The pieces of a `hidden` prompt with its unread signs in their places."""
    texts = iter(unread_texts(divided))
    for piece in pieces:
        first, *others = piece.text.split(_HIDDEN)
        yield Piece(first + "".join(next(texts) + other for other in others), piece.weight)
