"""A prompt in pieces: texts with a weight each, as the signs of a weighting rule divide it."""

from collections.abc import Iterable
from typing import NamedTuple

HEAVIEST = 100.0
DEEPEST = 40  # brackets within brackets


class Piece(NamedTuple):
    """A text and its weight; 1 is as it would be without signs."""

    text: str
    weight: float = 1.0


Part = list[Piece]  # what goes into chunks of its own


def merged(pieces: Iterable[Piece], between: str = "") -> Part:
    """Neighbours of the same weight as one piece; ValueError for a weight too far from 1."""
    found: Part = []
    for piece in pieces:
        if abs(piece.weight) > HEAVIEST:
            raise ValueError(f"a weight of {piece.weight:g} is too much: weights lie between -100 and 100")
        if found and found[-1].weight == piece.weight:
            piece = Piece(found.pop().text + between + piece.text, piece.weight)
        found.append(piece)
    return found or [Piece("")]


def check_depth(depth: int) -> None:
    """ValueError for brackets that lie deeper in brackets than anybody means."""
    if depth > DEEPEST:
        raise ValueError(f"brackets in the prompt are nested more than {DEEPEST} deep; write a weight instead")
