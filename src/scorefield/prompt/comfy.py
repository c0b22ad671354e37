"""ComfyUI's weighting: (more), (as much:1.3), nested; square brackets are letters."""

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from scorefield.prompt.chunks import Chunks
from scorefield.prompt.pieces import Part, Piece, check_depth, merged
from scorefield.prompt.states import States

MORE = 1.1
UNREAD = re.compile(r"embedding:\S+|\{[^{}]*\|[^{}]*\}")  # a learned word by its file; a random choice of words

_ESCAPED = {r"\(": "\0", r"\)": "\1"}  # no prompt holds these two
_WEIGHT = re.compile(r"(?P<inside>.+):\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*", re.DOTALL)


def parse(prompt: str) -> list[Part]:
    """The pieces of a prompt, in one part. A weight that is written as a number replaces the one around it."""
    for sign, letter in _ESCAPED.items():
        prompt = prompt.replace(sign, letter)
    pieces = (Piece(text.replace("\0", "(").replace("\1", ")"), weight) for text, weight in _pieces(prompt, 1.0, 0))
    return [merged((piece for piece in pieces if piece.text.strip()), between=" ")]


def _pieces(text: str, weight: float, depth: int) -> Iterator[Piece]:
    check_depth(depth)
    for part in _grouped(text):
        if len(part) < 2 or (part[0], part[-1]) != ("(", ")"):
            yield Piece(part, weight)
        elif match := _WEIGHT.fullmatch(part[1:-1]):
            yield from _pieces(match["inside"], float(match["weight"]), depth + 1)
        else:
            yield from _pieces(part[1:-1], weight * MORE, depth + 1)


def _grouped(text: str) -> Iterator[str]:
    """The texts in brackets, with the brackets, and the texts between them; behind a stray ")" all is one text."""
    start = depth = 0
    for k, letter in enumerate(text):
        if letter == "(":
            if depth == 0:
                yield text[start:k]
                start = k
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                yield text[start : k + 1]
                start = k + 1
    yield text[start:]


def weigh(states: States, chunks: Chunks) -> Tensor:
    """States on the line from the empty prompt's (weight 0) through the prompt's own (weight 1)."""
    read = states(chunks.ids)
    return read if (chunks.weights == 1).all() else from_empty(read, states.empty(), chunks.weights)


def from_empty(read: Tensor, empty: Tensor, weights: Tensor) -> Tensor:
    """empty + weight * (read - empty) for states (n, L, D) and weights (n, L), untouched where the weight is 1."""
    weight = weights[..., None]
    return torch.where(weight == 1, read, empty + weight * (read - empty))
