"""compel's weighting: word++, word--, (a phrase)1.3, "a phrase"+, nested; less is towards the prompt without it."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.chunks import Chunks, Weighed, whole_letters
from scorefield.prompt.comfy import from_empty
from scorefield.prompt.pieces import Part, Piece, check_depth, merged
from scorefield.prompt.states import States

MORE, LESS = 1.1, 0.9
UNREAD = re.compile(r"\.(?:attend|blend|and|add|swap)\([^()]*\)|\b(?:with|use)Lora\([^()]*\)")

_LEAST = 1e-5  # weight: at 0 the prompt without the phrase would weigh infinitely much
_SIGNS = r'\s()",.+\-='
_WORD = re.compile(rf"(?:\\[{_SIGNS[2:]}]|[+-](?![{_SIGNS}]|$)|[^{_SIGNS}])+")
_RUN = re.compile(r"\S+")  # what is no weighed word is read to the next space, signs and all
_ENDS = re.compile(r"\++|-+")
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+")
_QUOTED = re.compile(r'"((?:\\"|[^"\n])*)"')
_ESCAPED = re.compile(rf"\\([{_SIGNS[2:]}])")


class Found(NamedTuple):
    """What was read from a place on: its pieces, where it ends, and whether it is a word that nothing weighs."""

    pieces: list[Piece]
    end: int
    bare: bool = False


def parse(prompt: str) -> list[Part]:
    """The pieces of a prompt, one part; brackets and quotes that weigh nothing are dropped, stray ones are letters."""
    prompt = re.sub(r",(\S)", r", \1", prompt)
    pieces: list[Piece] = []
    at = _skip(prompt, 0)
    while at < len(prompt):
        found = _element(prompt, at, 0)
        if found is None or found.bare:
            run = _RUN.match(prompt, at)
            found = Found([Piece(_letters(run[0]))], run.end()) if run else Found([], len(prompt))
        pieces += found.pieces
        at = _skip(prompt, found.end)
    return [merged(pieces, between=" ")]


def _skip(text: str, at: int) -> int:
    return len(text) - len(text[at:].lstrip())


def _letters(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _element(text: str, at: int, depth: int) -> Found | None:
    """A bracket, quotes or a word, with the weight right behind it; a number weighs only brackets and quotes."""
    check_depth(depth)
    found = _bracket(text, at, depth) or _word(text, at)
    if found is None:
        return None
    sign = _ENDS.match(text, found.end) or (None if found.bare else _NUMBER.match(text, found.end))
    if not sign:
        return found
    told = sign[0]
    weight = {"+": MORE, "-": LESS}[told[0]] ** len(told) if told[0] in "+-" else float(told)
    return Found([Piece(one.text, one.weight * weight) for one in found.pieces], sign.end())


def _word(text: str, at: int) -> Found | None:
    word = _WORD.match(text, at)
    return word and Found([Piece(_letters(word[0]))], word.end(), bare=True)


def _bracket(text: str, at: int, depth: int) -> Found | None:
    """What stands in brackets or quotes; None if they are not closed, or if a sign in them makes no sense."""
    if text[at] == "(" and ")" in text[at:]:
        inside = _elements(text, at + 1, depth + 1)
        return inside and (Found(inside.pieces, inside.end + 1) if text[inside.end :] else None)
    if quoted := _QUOTED.match(text, at):
        inside = _elements(quoted[1], 0, depth + 1)
        return inside and (Found(inside.pieces, quoted.end()) if inside.end == len(quoted[1]) else None)
    return None


def _elements(text: str, at: int, depth: int) -> Found | None:
    """All elements up to a closing bracket or the end."""
    pieces: list[Piece] = []
    at = _skip(text, at)
    while at < len(text) and text[at] != ")":
        found = Found([Piece(text[at])], at + 1) if text[at] in ",." else _element(text, at, depth)
        if found is None:
            return None
        pieces += found.pieces
        at = _skip(text, found.end)
    return Found(pieces, at)


def cut(words: Sequence[Weighed], room: int, tokenizer: ClipTokenizer) -> int:
    """As many tokens as make whole sentences; else whole phrases, up to one of `.,;:`; else whole words."""
    count = whole_letters(words, room)
    ids = torch.tensor([one.id for one in words[:count]])
    stop, *others = (tokenizer.split(mark)[0].id for mark in ".,;:")
    for last in (ids == stop, torch.isin(ids, torch.tensor([stop, *others])), tokenizer.ends(ids)):
        if last.any():
            return int(last.nonzero()[-1]) + 1
    return count


def weigh(states: States, chunks: Chunks) -> Tensor:
    """The states on the line from the empty prompt's by their weights; for each piece that weighs less than 1, the mean
    with those of the prompt in which nobody sees it, tan((1 - weight) pi / 2) to 1.
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
