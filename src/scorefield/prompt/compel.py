"""compel's weighting: word++, word--, (a phrase)1.3, "a phrase"+, nested.

A weight below 1 leads towards the prompt without that phrase.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.chunks import Chunks, States, WeightedToken, whole_letters
from scorefield.prompt.comfy import from_empty
from scorefield.prompt.pieces import Part, Piece, check_depth, divided_by, hidden, merged, restored, unread_texts

MORE, LESS = 1.1, 0.9
_UNREAD = re.compile(r"(?:\.(?:attend|blend|and|add|swap)|\b(?:with|use)Lora)\((?:[^()]|\([^()]*\))*\)")
_SPACE = re.compile(r"\s*")
_MOST_SIGNS = 999  # after a word: more would overflow, and 49 are already refused as too heavy
_LEAST = 1e-5  # of a weight: at 0, the share of the prompt without the phrase would be infinite
_SIGNS = r'\s()",.+\-='
_WORD = re.compile(rf"(?:\\[{_SIGNS[2:]}]|[+-](?![{_SIGNS}]|$)|[^{_SIGNS}])+")
_RUN = re.compile(r"\S+")  # a word without a weight extends to the next space, signs included
_ENDS = re.compile(r"\++|-+")
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_QUOTED = re.compile(r'"((?:\\"|[^"\n])*)"')
_ESCAPED = re.compile(rf"\\([{_SIGNS[2:]}])")


class Parsed(NamedTuple):
    """The pieces read from one position on."""

    pieces: list[Piece]
    end: int  # their end in the text
    bare: bool = False  # a word without a sign


def parse(prompt: str) -> list[Part]:
    """The pieces of a prompt, in one part. Brackets and quotes without a weight are dropped, stray ones are letters."""
    divided = divided_by(prompt, _UNREAD)
    prompt = re.sub(r",(\S)", r", \1", hidden(divided))
    pieces: list[Piece] = []
    at = _skip(prompt, 0)
    while at < len(prompt):
        found = _element(prompt, at, 0)
        if found is None or found.bare:
            run = _RUN.match(prompt, at)
            found = Parsed([Piece(_letters(run[0]))], run.end()) if run else Parsed([], len(prompt))
        pieces += found.pieces
        at = _skip(prompt, found.end)
    return [merged(restored(pieces, divided), between=" ")]


def unread(prompt: str) -> list[str]:
    """The signs that compel reads and we do not: .and(), .blend(), .swap() and withLora()."""
    return unread_texts(divided_by(prompt, _UNREAD))


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _letters(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _element(text: str, at: int, depth: int) -> Parsed | None:
    """A bracket, quotes or a word, with the weight after it; only brackets and quotes may have a number as weight."""
    check_depth(depth)
    found = _bracket(text, at, depth) or _word(text, at)
    if found is None:
        return None
    sign = _ENDS.match(text, found.end) or (None if found.bare else _NUMBER.match(text, found.end))
    if not sign:
        return found
    signs = sign[0]
    weight = {"+": MORE, "-": LESS}[signs[0]] ** min(len(signs), _MOST_SIGNS) if signs[0] in "+-" else float(signs)
    return Parsed([Piece(one.text, one.weight * weight) for one in found.pieces], sign.end())


def _word(text: str, at: int) -> Parsed | None:
    word = _WORD.match(text, at)
    return word and Parsed([Piece(_letters(word[0]))], word.end(), bare=True)


def _bracket(text: str, at: int, depth: int) -> Parsed | None:
    """The text in brackets or quotes; None if they are not closed, or if a sign in them is malformed."""
    if text[at] == "(" and text.rfind(")") > at:
        inside = _elements(text, at + 1, depth + 1)
        return inside and (Parsed(inside.pieces, inside.end + 1) if inside.end < len(text) else None)
    if quoted := _QUOTED.match(text, at):
        inside = _elements(quoted[1], 0, depth + 1)
        return inside and (Parsed(inside.pieces, quoted.end()) if inside.end == len(quoted[1]) else None)
    return None


def _elements(text: str, at: int, depth: int) -> Parsed | None:
    """All elements up to a closing bracket or the end."""
    pieces: list[Piece] = []
    at = _skip(text, at)
    while at < len(text) and text[at] != ")":
        found = Parsed([Piece(text[at])], at + 1) if text[at] in ",." else _element(text, at, depth)
        if found is None:
            return None
        pieces += found.pieces
        at = _skip(text, found.end)
    return Parsed(pieces, at)


def cut(words: Sequence[WeightedToken], room: int, tokenizer: ClipTokenizer) -> int:
    """The tokens up to the end of a sentence, else of a phrase (one of `.,;:`), else of a word."""
    count = whole_letters(words, room)
    ids = torch.tensor([one.id for one in words[:count]], device="cpu")
    stop, *others = (tokenizer.split(mark)[0].id for mark in ".,;:")
    for last in (ids == stop, torch.isin(ids, torch.tensor([stop, *others], device="cpu")), tokenizer.ends(ids)):
        if last.any():
            return int(last.nonzero()[-1]) + 1
    return count


def weigh(states: States, chunks: Chunks) -> Tensor:
    """States weighted as in ComfyUI, averaged with those of prompts without the pieces that weigh less than 1.

    Each piece of weight w < 1 is masked in one further prompt, whose share in the mean is tan((1 - w) pi / 2) to 1.
    """
    read = states(chunks.ids)
    if (chunks.weights == 1).all():
        return read
    empty = states.empty()
    mean, total = from_empty(read, empty, chunks.weights), 1.0
    for piece in dict.fromkeys(chunks.pieces[chunks.weights < 1].tolist()):
        weight = float(chunks.weights[chunks.pieces == piece][0])
        share = math.tan((1 - max(weight, _LEAST)) * math.pi / 2)
        without = states(chunks.ids, chunks.pieces != piece)
        mean, total = mean + share * from_empty(without, empty, chunks.weights), total + share
    return mean / total
