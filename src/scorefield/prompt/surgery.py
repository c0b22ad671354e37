"""Change the vectors of a prompt's tokens before the text encoder reads them.

opened = surgery.opened(conditioner, ["a puppy in the snow"])
hybrid = surgery.mean(conditioner, {"puppy": 0.5, "skunk": 0.5})
cond = surgery.closed(conditioner, surgery.replaced(conditioner, opened, "puppy", hybrid))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.errors import RequestError
from scorefield.nets.clip import TextTransformer
from scorefield.prompt.inversion import Table


class Tokenizer(Protocol):
    """From prompts to tokens; a word is one token, or several with byte pairs."""

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]: ...
    def word(self, name: str) -> list[int]: ...
    def ends(self, ids: Tensor) -> Tensor: ...


class Conditioner(Protocol):
    """A conditioner whose prompts can be changed: the embedded model's or a published one's."""

    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def encoder(self) -> TextTransformer: ...
    @property
    def table(self) -> Table: ...
    def read(self, vectors: Tensor, ids: Tensor, mask: Tensor) -> Cond: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The text encoder's input for prompts."""

    ids: Tensor  # (B, L)
    mask: Tensor  # (B, L) bool, True for real tokens
    vectors: Tensor  # (B, L, D), without positions, which the encoder adds


@torch.no_grad()
def opened(conditioner: Conditioner, prompts: Sequence[str]) -> Opened:
    """The prompts with their tokens' vectors from the table; RequestError for a prompt that is too long."""
    device = conditioner.encoder.positions.device
    ids, mask = (tensor.to(device) for tensor in conditioner.tokenizer.encode(prompts))
    return Opened(ids=ids, mask=mask, vectors=conditioner.table(ids))


@torch.no_grad()
def closed(conditioner: Conditioner, prompts: Opened) -> Cond:
    """The condition of opened prompts; unchanged ones give the conditioner's own."""
    return conditioner.read(prompts.vectors, prompts.ids, prompts.mask)


@torch.no_grad()
def rows(conditioner: Conditioner, name: str) -> Tensor:
    """The vectors (n, D) of the n tokens that spell a word; RequestError for an unknown word or several words."""
    ids = torch.tensor(conditioner.tokenizer.word(name), device=conditioner.encoder.positions.device)
    return conditioner.table(ids)


def mean(conditioner: Conditioner, weights: Mapping[str, float]) -> Tensor:
    """The weighted mean (n, D) of the vectors of several words, token by token.

    RequestError for weights that sum to 0, and for words of different numbers of tokens, which have no mean.
    """
    if (total := sum(weights.values())) == 0:
        raise RequestError(f"the weights of {', '.join(weights)} sum to 0")
    vectors = {name: rows(conditioner, name) for name in weights}
    if len({len(one) for one in vectors.values()}) > 1:
        lengths = ", ".join(f"{name} {len(one)}" for name, one in vectors.items())
        raise RequestError(f"only words with equally many tokens have a mean; these have: {lengths}")
    return torch.stack([weights[name] / total * one for name, one in vectors.items()]).sum(0)


def where(conditioner: Conditioner, prompts: Opened, name: str) -> Tensor:
    """Find the tokens of a word in each prompt, (B, L) bool; RequestError if a prompt lacks the word.

    The same tokens at the end of a longer word do not count.
    """
    wanted = torch.tensor(conditioner.tokenizer.word(name), device=prompts.ids.device)
    before = F.pad(conditioner.tokenizer.ends(prompts.ids)[:, :-1], (1, 0), value=True)
    begins = (prompts.ids.unfold(1, len(wanted), 1) == wanted).all(-1)
    begins = F.pad(begins, (0, len(wanted) - 1)) & before
    if not begins.any(1).all():
        raise RequestError(f"{name!r} is not in every prompt")
    return torch.stack([begins.roll(k, 1) for k in range(len(wanted))]).any(0)


def replaced(conditioner: Conditioner, prompts: Opened, name: str, vectors: Tensor) -> Opened:
    """The prompts with other vectors for every occurrence of the word `name`; their ids do not change.

    `vectors` (n, D) are for the n tokens of the word, or (D,) for each of them. RequestError for another number.
    """
    at, count = where(conditioner, prompts, name), len(conditioner.tokenizer.word(name))
    if vectors.ndim == 2 and len(vectors) != count:
        raise RequestError(f"{name!r} needs one vector per token, {count} in all, not {len(vectors)}")
    turn = (at.cumsum(1) - 1) % count  # which of the word's tokens this is
    new = vectors.to(prompts.vectors).expand(count, -1)[turn]
    return replace(prompts, vectors=torch.where(at[..., None], new, prompts.vectors))


def between(first: Cond, second: Cond, shares: Tensor) -> Cond:
    """The conditions (F, L, D) at `shares` (F,) of the line from `first` (share 0) to `second` (1), one row each.

    RequestError for conditions of different lengths or with different masks.
    """
    if first.tokens is None or second.tokens is None or first.tokens.shape != second.tokens.shape:
        raise RequestError("only conditions with equally many tokens can be mixed")
    share = shares.to(first.tokens)[:, None, None]
    tokens = first.tokens + share * (second.tokens - first.tokens)
    if first.mask is None or second.mask is None:
        return Cond(tokens=tokens)
    if not torch.equal(first.mask, second.mask):
        raise RequestError("only prompts with equally many words can be mixed")
    return Cond(tokens=tokens, mask=first.mask.expand(len(shares), -1))
