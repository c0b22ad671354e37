"""Prompts to the condition of the embedded model: one token a word, and the text tower of its own CLIP."""

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.errors import RequestError
from scorefield.nets.clip import Clip, TextTower
from scorefield.prompt.conditioner import Conditioner
from scorefield.prompt.inversion import Learned, Table, extended
from scorefield.prompt.rules import PLAIN, Count, Rules
from scorefield.prompt.tokenizer import WordTokenizer


class TextConditioner(Conditioner):
    """A tokenizer and the CLIP whose text tower reads its tokens."""

    def __init__(self, tokenizer: WordTokenizer, clip: Clip) -> None:
        if len(tokenizer) != (size := clip.config.text.vocab_size):
            raise ValueError(
                f"the tokenizer knows {len(tokenizer)} tokens, the text tower {size}: they do not belong together"
            )
        self.tokenizer, self.clip = tokenizer, clip
        self.table = Table(clip.text.tokens)

    def with_learned(self, learned: Sequence[Learned]) -> Self:
        """A conditioner that knows these learned words, of the same tower; InversionError if it cannot take them."""
        other = copy.copy(self)
        other.tokenizer, other.table = extended(self.tokenizer, self.clip.text.tokens, learned)
        return other

    @property
    def encoder(self) -> TextTower:
        """The text tower alone."""
        return self.clip.text

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], rules: Rules = PLAIN) -> Cond:
        """Cond(tokens (B, L, D), mask (B, L)) of the prompts, on the tower's device; ValueError as from `counts`."""
        self._check(rules)
        device = self.clip.text.positions.device
        ids, mask = (tensor.to(device) for tensor in self.tokenizer.encode(prompts))
        return self.read(self.table(ids), ids, mask)

    def read(self, vectors: Tensor, ids: Tensor, mask: Tensor) -> Cond:
        """The condition of any `vectors` (B, L, D) in place of those of the tokens `ids` (B, L).

        `mask` (B, L) is True where a token is real. Gradients reach the vectors.
        """
        return Cond(tokens=self.clip.text.read(vectors, mask), mask=mask)

    def counts(self, prompts: Sequence[str], rules: Rules = PLAIN) -> list[Count]:
        """How long each prompt is; ValueError for one that is too long, and for any rules but the plain ones.

        Chunks and weights help with models that were trained on rich captions; this one knows short ones only.
        """
        self._check(rules)
        _, mask = self.tokenizer.encode(prompts)
        room = self.tokenizer.context_length - 2
        return [Count(tokens=int(tokens) - 2, room=room, chunks=1) for tokens in mask.sum(1)]

    def _check(self, rules: Rules) -> None:
        if rules.weighting != "none":
            raise RequestError("this model weighs no words: weighting is for Stable Diffusion")
        if rules.long_prompt != "refuse":
            raise RequestError("this model reads a prompt whole or not at all: chunks are for Stable Diffusion")
        if rules.clip_skip != 1:
            raise RequestError("this model reads the last block of its text tower: clip_skip is for Stable Diffusion")

    def unknown(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """The words of the prompts that the model never saw, each with the known words nearest in spelling."""
        return {word: near for prompt in prompts for word, near in self.tokenizer.unknown(prompt)}
