"""A prompt in pieces: texts with one weight each, into which a weighting rule divides it."""

from collections.abc import Iterable
from typing import NamedTuple

from scorefield.errors import RequestError

HEAVIEST = 100.0
DEEPEST = 40  # brackets within brackets


class Piece(NamedTuple):
    """A text and its weight; 1 is that of a text without signs."""

    text: str
    weight: float = 1.0


Part = list[Piece]  # of a prompt: each part begins a new chunk


def merged(pieces: Iterable[Piece], between: str = "") -> Part:
    """The pieces, neighbours of one weight joined with `between`; RequestError for a weight beyond 100."""
    part: Part = []
    for piece in pieces:
        if abs(piece.weight) > HEAVIEST:
            raise RequestError(f"a weight of {piece.weight:g} is too much: weights lie between -100 and 100")
        if part and part[-1].weight == piece.weight:
            piece = Piece(part.pop().text + between + piece.text, piece.weight)
        part.append(piece)
    return part or [Piece("")]


def check_depth(depth: int) -> None:
    """RequestError for brackets that are nested deeper than anybody means."""
    if depth > DEEPEST:
        raise RequestError(f"brackets in the prompt are nested more than {DEEPEST} deep; write a weight instead")
