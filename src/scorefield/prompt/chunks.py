"""Divide prompts of any length into chunks that fit a text encoder, each with a start and an end token."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.pieces import Part

_LONG_WORD = 8  # tokens: words of at least this length may be divided between chunks, as in ComfyUI


class WeightedToken(NamedTuple):
    """A token of a prompt, with the weight of its piece, and whether a chunk may begin with it."""

    id: int
    weight: float
    piece: int  # the number of its piece in the prompt
    letter: bool  # it begins a letter or a learned word; False for further bytes of a letter or vectors of a word
    word: bool  # it begins a word, which is a text between two spaces


Cut = Callable[[Sequence[WeightedToken], int, ClipTokenizer], int]  # tokens, room -> how many go into the first chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """A prompt as n chunks of L tokens for the text encoder."""

    ids: Tensor  # (n, L) int64
    weights: Tensor  # (n, L) float32; 1 for start, end and padding
    pieces: Tensor  # (n, L) int64, the number of each token's piece; -1 for start, end and padding
    tokens: int  # their total number, without start, end and padding

    def to(self, device: torch.device) -> "Chunks":
        """The same chunks on a device."""
        ids, weights, pieces = (tensor.to(device) for tensor in (self.ids, self.weights, self.pieces))
        return Chunks(ids=ids, weights=weights, pieces=pieces, tokens=self.tokens)


def chunks(tokenizer: ClipTokenizer, parts: Sequence[Part], cut: Cut) -> Chunks:
    """The chunks of a prompt's parts, at least one; an empty last part adds none."""
    divided = [chunk for words in _weighted(tokenizer, parts) for chunk in _divided(tokenizer, words, cut)]
    if len(divided) > 1 and not divided[-1]:
        divided.pop()
    length = tokenizer.context_length
    ids = torch.full((len(divided), length), tokenizer.pad_id, device="cpu")
    weights, pieces = torch.ones(ids.shape, dtype=torch.float32, device="cpu"), torch.full_like(ids, -1)
    for k, chunk in enumerate(divided):
        inside = slice(1, len(chunk) + 1)
        ids[k, : len(chunk) + 2] = torch.tensor(
            [tokenizer.start_id, *(one.id for one in chunk), tokenizer.end_id], device="cpu"
        )
        weights[k, inside] = torch.tensor([one.weight for one in chunk], dtype=torch.float32, device="cpu")
        pieces[k, inside] = torch.tensor([one.piece for one in chunk], dtype=torch.int64, device="cpu")
    return Chunks(ids=ids, weights=weights, pieces=pieces, tokens=sum(map(len, divided)))


def _weighted(tokenizer: ClipTokenizer, parts: Sequence[Part]) -> Iterator[list[WeightedToken]]:
    numbers = count()
    for part in parts:
        words = []
        for piece, number in zip(part, numbers, strict=False):
            start = end = -1
            for token in tokenizer.split(piece.text):
                words.append(WeightedToken(token.id, piece.weight, number, token.start > start, token.start > end))
                _, start, end = token
        yield words


def _divided(tokenizer: ClipTokenizer, words: list[WeightedToken], cut: Cut) -> Iterator[list[WeightedToken]]:
    room, start = tokenizer.context_length - 2, 0
    while len(words) - start > room:
        end = start + cut(words[start : start + room + _LONG_WORD], room, tokenizer)
        yield words[start:end]
        start = end
    yield words[start:]


def whole_letters(words: Sequence[WeightedToken], room: int) -> int:
    """As many tokens as fit into `room` without dividing a letter or a learned word."""
    return next((k for k in range(room, 0, -1) if words[k].letter), room)


def whole_words(words: Sequence[WeightedToken], room: int, tokenizer: ClipTokenizer) -> int:
    """As many tokens as fit into `room` without dividing a word of fewer than 8 tokens (ComfyUI)."""
    begin = next((k for k in range(room, 0, -1) if words[k].word), 0)
    far = min(len(words), begin + _LONG_WORD)
    end = next((k for k in range(room + 1, far) if words[k].word), far)
    return begin if begin and end - begin < _LONG_WORD else whole_letters(words, room)


class States:
    """The text encoder's states (n, L, D) of ids (n, L), in float32; `read` runs the encoder in the encoder's dtype."""

    def __init__(self, read: Callable[[Tensor, Tensor | None], Tensor], empty: Tensor) -> None:
        self._read, self._empty = read, empty

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """The states of `ids`; no token attends to one where `mask` (n, L) bool is False."""
        return self._read(ids, mask).float()

    def empty(self) -> Tensor:
        """The states (1, L, D) of the empty prompt."""
        return self(self._empty)
