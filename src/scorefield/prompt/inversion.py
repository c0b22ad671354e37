"""Textual inversion: learned words in addition to those of the vocabulary (Gal et al. 2022).

The model does not change: learned words make a new conditioner, with the same text encoder.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from scorefield.errors import RequestError


class InversionError(RequestError):
    """Learned words that this model cannot take; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A learned word."""

    token: str  # how a prompt writes it
    vectors: Tensor  # (n, D); each replaces a token's


class LearnedTokens:
    """Finds learned words in a prompt, each with the ids of its vectors."""

    def __init__(self, ids: Mapping[str, Sequence[int]]) -> None:
        longest_first = sorted(ids, key=len, reverse=True)
        self._ids = [ids[token] for token in longest_first]
        self._pattern = re.compile("|".join(map(_alone, longest_first)), re.IGNORECASE) if ids else None

    def split(self, prompt: str) -> Iterator[tuple[str, Sequence[int]]]:
        """Divide a prompt into learned words, with their ids, and the texts between, without ids, in order.

        Learned words are found before a text is divided into words or byte pairs, in any case.
        """
        end = 0
        for match in self._pattern.finditer(prompt) if self._pattern else ():
            yield prompt[end : match.start()], ()
            yield match[0], self._ids[(match.lastindex or 0) - 1]
            end = match.end()
        yield prompt[end:], ()


def _alone(token: str) -> str:
    """The pattern of a token: "sks" is not found inside "tasks", but "<sks>" is found anywhere."""
    before, after = r"(?<!\w)" if token[0].isalnum() else "", r"(?!\w)" if token[-1].isalnum() else ""
    return f"{before}({re.escape(token)}){after}"


class Table:
    """The vectors of ids: the fixed rows of a text encoder's embedding table, then learned ones."""

    def __init__(self, known: nn.Embedding, learned: Tensor | None = None) -> None:
        self.known, self.learned = known, learned

    def __call__(self, ids: Tensor) -> Tensor:
        """Vectors (B, L, D) of `ids` (B, L); a gradient reaches the learned ones."""
        count = self.known.num_embeddings
        vectors: Tensor = self.known(ids if self.learned is None else ids.clamp(max=count - 1))
        if self.learned is None:
            return vectors
        learned = self.learned.to(vectors)[(ids - count).clamp(min=0)]
        return torch.where((ids < count)[..., None], vectors, learned)


class Tokenizer(Protocol):
    """A tokenizer that can take learned words."""

    context_length: int

    def knows(self, token: str) -> bool: ...
    def with_learned(self, ids: Mapping[str, Sequence[int]]) -> Self: ...


T = TypeVar("T", bound=Tokenizer)


def extended(tokenizer: T, known: nn.Embedding, learned: Sequence[Learned]) -> tuple[T, Table]:
    """A tokenizer that knows these learned words, and the table with their vectors; the arguments do not change.

    InversionError for vectors that are too many, not finite or of another width, and for a token that is empty or
    taken.
    """
    ids: dict[str, Sequence[int]] = {}
    end = known.num_embeddings
    for one in learned:
        _check(one, known.embedding_dim, tokenizer.context_length - 2)
        if tokenizer.knows(one.token):
            raise InversionError(
                f"{one.token!r} is already a word of this model; give another name, such as <{one.token}>=PATH"
            )
        if one.token.lower() in map(str.lower, ids):
            raise InversionError(f"two learned words are called {one.token!r}; give one another name: {_ANOTHER}")
        ids[one.token] = range(end, end + len(one.vectors))
        end += len(one.vectors)
    vectors = torch.cat([one.vectors for one in learned]) if learned else None
    return tokenizer.with_learned(ids), Table(known, vectors)


_ANOTHER = "TOKEN=PATH, such as <thing>=PATH"


def _check(one: Learned, width: int, room: int) -> None:
    if not one.token.strip() or not one.token.isprintable():
        raise InversionError(f"a learned word cannot be called {one.token!r}; give it a name: {_ANOTHER}")
    count, wide = one.vectors.shape
    if wide != width:
        raise InversionError(
            f"the vectors of {one.token!r} have {wide} numbers, those of this model {width}: "
            "the word was learned with another model"
        )
    if not 0 < count <= room:
        raise InversionError(f"{one.token!r} has {count} vectors; a prompt of this model has room for {room}")
    if not one.vectors.isfinite().all():
        raise InversionError(f"the vectors of {one.token!r} are not finite; get the file again")
