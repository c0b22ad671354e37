"""Prompts to the condition of a published model: CLIP's byte pairs and a published text tower."""

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.nets.clip import TextEncoder
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.conditioner import Conditioner
from scorefield.prompt.inversion import Learned, Table, grown


class PublishedConditioner(Conditioner):
    """A tokenizer and a text tower that reads what fills a prompt up like any word, as it was trained: no mask.

    ValueError for a pair that does not belong together.
    """

    def __init__(self, tokenizer: ClipTokenizer, encoder: TextEncoder) -> None:
        knows, reads = len(tokenizer), encoder.config.text
        if (knows, tokenizer.context_length) != (reads.vocab_size, reads.context_length):
            raise ValueError(
                f"the tokenizer has {knows} tokens and prompts of {tokenizer.context_length}, the text tower "
                f"{reads.vocab_size} and {reads.context_length}: they do not belong together"
            )
        self.tokenizer, self.encoder = tokenizer, encoder
        self.table = Table(encoder.tokens)

    def with_learned(self, learned: Sequence[Learned]) -> Self:
        """A conditioner that knows these learned words, of the same tower; InversionError if it cannot take them."""
        other = copy.copy(self)
        other.tokenizer, other.table = grown(self.tokenizer, self.encoder.tokens, learned)
        return other

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Cond:
        """Cond(tokens (B, 77, D)) of the prompts, on the tower's device; the empty prompt is the unconditional one."""
        ids, mask = (tensor.to(self.encoder.positions.device) for tensor in self.tokenizer.encode(prompts))
        return self.read(self.table(ids), ids, mask)

    def read(self, vectors: Tensor, ids: Tensor, mask: Tensor) -> Cond:
        """The condition of any vectors (B, 77, D) in place of those of the tokens `ids` (B, 77); no mask, as ever.

        A gradient goes back to them.
        """
        tokens, _ = self.encoder.condition_of(vectors, ids)
        return Cond(tokens=tokens)

    def check(self, prompts: Sequence[str]) -> None:
        """ValueError if a prompt is longer than the tower reads, which says by how much and where it would be cut."""
        self.tokenizer.encode(prompts)

    def unknown(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """None: byte pairs spell every word."""
        return {}
