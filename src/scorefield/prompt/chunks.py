"""Prompts of any length in chunks of as many tokens as a text tower reads, each with a start and an end of its own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.pieces import Part

_LONG_WORD = 8  # tokens: a word of as many is cut, as ComfyUI does


class Weighed(NamedTuple):
    """A token with the weight and the number of its piece, and what a chunk may begin with: a letter, a word."""

    id: int
    weight: float
    piece: int
    letter: bool  # False where it goes on with the letters before it: the vectors of one learned word, bytes of a sign
    word: bool  # True for the first of what stands between two spaces


Cut = Callable[[Sequence[Weighed], int, ClipTokenizer], int]  # how many of too many tokens go into the chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """A prompt ready for the text tower: for n chunks of L tokens ids, weights and the number of their piece (n, L)."""

    ids: Tensor
    weights: Tensor  # float32; 1 for start, end and padding
    pieces: Tensor  # -1 for start, end and padding
    tokens: int  # in all chunks, without these

    def to(self, device: torch.device) -> "Chunks":
        """The same on a device."""
        ids, weights, pieces = (tensor.to(device) for tensor in (self.ids, self.weights, self.pieces))
        return Chunks(ids=ids, weights=weights, pieces=pieces, tokens=self.tokens)


def chunks(tokenizer: ClipTokenizer, parts: Sequence[Part], cut: Cut) -> Chunks:
    """The chunks of a prompt's parts, at least one; an empty last part adds none."""
    found = [chunk for words in _weighed(tokenizer, parts) for chunk in _divided(tokenizer, words, cut)]
    if len(found) > 1 and not found[-1]:
        found.pop()
    length = tokenizer.context_length
    ids = torch.full((len(found), length), tokenizer.pad_id)
    weights, pieces = torch.ones(ids.shape), torch.full(ids.shape, -1)
    for k, chunk in enumerate(found):
        inside = slice(1, len(chunk) + 1)
        ids[k, : len(chunk) + 2] = torch.tensor([tokenizer.start_id, *(one.id for one in chunk), tokenizer.end_id])
        weights[k, inside] = torch.tensor([one.weight for one in chunk])
        pieces[k, inside] = torch.tensor([one.piece for one in chunk], dtype=torch.int64)
    return Chunks(ids=ids, weights=weights, pieces=pieces, tokens=sum(map(len, found)))


def _weighed(tokenizer: ClipTokenizer, parts: Sequence[Part]) -> Iterator[list[Weighed]]:
    numbers = count()
    for part in parts:
        words = []
        for piece, number in zip(part, numbers, strict=False):
            start = end = -1
            for token in tokenizer.split(piece.text):
                words.append(Weighed(token.id, piece.weight, number, token.start > start, token.start > end))
                _, start, end = token
        yield words


def _divided(tokenizer: ClipTokenizer, words: list[Weighed], cut: Cut) -> Iterator[list[Weighed]]:
    room = tokenizer.context_length - 2
    while len(words) > room:
        end = cut(words, room, tokenizer)
        yield words[:end]
        words = words[end:]
    yield words


def whole_letters(words: Sequence[Weighed], room: int) -> int:
    """As many tokens as fit, without the beginning of a learned word that does not."""
    return next((k for k in range(room, 0, -1) if words[k].letter), room)


def whole_words(words: Sequence[Weighed], room: int, tokenizer: ClipTokenizer) -> int:
    """As many tokens as fit, without the beginning of a word of fewer than 8 tokens that does not (ComfyUI)."""
    begin = next((k for k in range(room, 0, -1) if words[k].word), 0)
    end = next((k for k in range(room + 1, len(words)) if words[k].word), len(words))
    return begin if begin and end - begin < _LONG_WORD else whole_letters(words, room)
