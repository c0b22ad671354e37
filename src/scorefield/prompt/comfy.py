"""ComfyUI's weighting: (more), (words:1.3), nested; square brackets are letters."""

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from scorefield.prompt.chunks import Chunks, States
from scorefield.prompt.pieces import Bracket, Part, Piece, Span, check_depth, hidden, merged, restored, spans

MORE = 1.1
_ESCAPED = {r"\(": "\0", r"\)": "\1"}  # no prompt contains these two
_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\s*")
_CHOICE = re.compile(r"\\.|[{}|]", re.DOTALL)
_EMBEDDING = re.compile(r"embedding:[^\s():]+")


def parse(prompt: str) -> list[Part]:
    """The pieces of a prompt, in one part. A weight written as a number replaces the one around it."""
    divided = _spans(prompt)
    prompt = hidden(divided)
    for sign, letter in _ESCAPED.items():
        prompt = prompt.replace(sign, letter)
    pieces = (Piece(text.replace("\0", "(").replace("\1", ")"), weight) for text, weight in _pieces(prompt, 1.0, 0))
    return [merged((piece for piece in restored(pieces, divided) if piece.text.strip()), between=" ")]


def unread(prompt: str) -> list[str]:
    """The signs that ComfyUI reads and we do not: embedding:FILE, and random choices {one|another}."""
    return [text for span in _spans(prompt) for text in ([span.text] if span.unread else _EMBEDDING.findall(span.text))]


def _spans(prompt: str) -> list[Span]:
    return spans(prompt, _CHOICE, {"}": "{"}, _chooses)


def _chooses(prompt: str, bracket: Bracket, end: int) -> bool:
    return bool(bracket.separators)


def _pieces(text: str, weight: float, depth: int) -> Iterator[Piece]:
    check_depth(depth)
    for part in _grouped(text):
        if len(part) < 2 or (part[0], part[-1]) != ("(", ")"):
            yield Piece(part, weight)
        else:
            inside, _, number = part[1:-1].rpartition(":")
            if inside and _NUMBER.fullmatch(number):
                yield from _pieces(inside, float(number), depth + 1)
            else:
                yield from _pieces(part[1:-1], weight * MORE, depth + 1)


def _grouped(text: str) -> Iterator[str]:
    """The texts in brackets, brackets included, and the texts between them; after a stray ")" the rest is one text."""
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
