"""Surgery on prompts: the vectors of their tokens taken out before the transformer reads them, changed, and put back.

opened = surgery.opened(conditioner, ["a puppy in the snow"])
hybrid = surgery.mean(conditioner, {"puppy": 0.5, "skunk": 0.5})
cond = surgery.closed(conditioner, surgery.replaced(conditioner, opened, "puppy", hybrid))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.prompt.text import TextConditioner


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Prompts as the transformer is about to read them: token ids (B, L), which are real, and their vectors."""

    ids: Tensor
    mask: Tensor  # (B, L) bool
    vectors: Tensor  # (B, L, D), without the positions, which stay with the transformer


@torch.no_grad()
def opened(conditioner: TextConditioner, prompts: Sequence[str]) -> Opened:
    """The prompts, each token's vector a row of the table; ValueError for a prompt that is too long."""
    table = conditioner.clip.text.tokens
    ids, mask = (tensor.to(table.weight.device) for tensor in conditioner.tokenizer.encode(prompts))
    return Opened(ids=ids, mask=mask, vectors=table(ids))


@torch.no_grad()
def closed(conditioner: TextConditioner, prompts: Opened) -> Cond:
    """What the transformer makes of them: for prompts that nothing was done to, the conditioner's own condition."""
    return Cond(tokens=conditioner.clip.text.read(prompts.vectors, prompts.mask), mask=prompts.mask)


def word(conditioner: TextConditioner, name: str) -> int:
    """The id of the one token that is this word; ValueError for what the vocabulary lacks, or several words."""
    names = conditioner.tokenizer.words(name)
    if len(names) != 1 or conditioner.tokenizer.unknown(name):
        raise ValueError(f"{name!r} is not one word of the vocabulary")
    return conditioner.tokenizer.vocabulary[names[0]]


def mean(conditioner: TextConditioner, weights: Mapping[str, float]) -> Tensor:
    """The weighted mean (D) of the vectors of words: of one word its own; ValueError for weights that sum to 0."""
    if (total := sum(weights.values())) == 0:
        raise ValueError(f"the weights of {', '.join(weights)} sum to 0")
    rows = conditioner.clip.text.tokens.weight.detach()
    return torch.stack([weight / total * rows[word(conditioner, name)] for name, weight in weights.items()]).sum(0)


def where(conditioner: TextConditioner, prompts: Opened, name: str) -> Tensor:
    """Where a word stands in each prompt, (B, L) bool; ValueError if it is missing from one."""
    at = prompts.ids == word(conditioner, name)
    if not at.any(1).all():
        raise ValueError(f"{name!r} does not stand in every prompt")
    return at


def replaced(conditioner: TextConditioner, prompts: Opened, name: str, vector: Tensor) -> Opened:
    """The prompts with `vector` (D) wherever that word stands; the ids go on saying what was written."""
    at = where(conditioner, prompts, name)
    return replace(prompts, vectors=torch.where(at[..., None], vector.to(prompts.vectors), prompts.vectors))
