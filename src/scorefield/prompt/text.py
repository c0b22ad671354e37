"""From prompts to the condition of the embedded model: one token per word, and the text encoder of its own CLIP."""

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.nets.clip import Clip, TextTransformer
from scorefield.prompt.conditioner import Conditioner, Prompt, Tokenized
from scorefield.prompt.inversion import Learned, Table, extended
from scorefield.prompt.rules import PLAIN, Count, Rules, check_plain
from scorefield.prompt.tokenizer import WordTokenizer


class TextConditioner(Conditioner):
    """A tokenizer and the CLIP whose text encoder reads its tokens."""

    def __init__(self, tokenizer: WordTokenizer, clip: Clip) -> None:
        if len(tokenizer) != (size := clip.config.text.vocab_size):
            raise ValueError(
                f"the tokenizer knows {len(tokenizer)} tokens, the text encoder {size}: they do not fit each other"
            )
        self.tokenizer, self.clip = tokenizer, clip
        self.table = Table(clip.text.tokens)

    def with_learned(self, learned: Sequence[Learned]) -> Self:
        """A conditioner with these learned words and the same encoder; InversionError if it cannot take them."""
        other = copy.copy(self)
        other.tokenizer, other.table = extended(self.tokenizer, self.clip.text.tokens, learned)
        return other

    @property
    def encoder(self) -> TextTransformer:
        """CLIP's text encoder."""
        return self.clip.text

    def __call__(self, prompts: Sequence[Prompt], rules: Rules = PLAIN) -> Cond:
        """Cond(tokens (B, L, D), mask (B, L)) of the prompts, on the encoder's device."""
        return self.conditions([prompts], rules)[0]

    @torch.no_grad()
    def conditions(self, batches: Sequence[Sequence[Prompt]], rules: Rules = PLAIN) -> list[Cond]:
        """The condition of each batch of prompts, on the encoder's device."""
        inputs = [self._vectors_and_mask(prompts, rules) for prompts in batches]
        return [Cond(tokens=self.clip.text.read(vectors, mask), mask=mask) for vectors, mask in inputs]

    def _vectors_and_mask(self, prompts: Sequence[Prompt], rules: Rules) -> tuple[Tensor, Tensor]:
        device = self.clip.text.positions.device
        rows = [_ids_and_mask(one) for one in self.tokenized(prompts, rules)]
        ids, mask = (torch.stack(tensors).to(device) for tensors in zip(*rows, strict=True))
        return self.table(ids), mask

    def read(self, vectors: Tensor, ids: Tensor, mask: Tensor) -> Cond:
        """The condition of any `vectors` (B, L, D) in place of those of the tokens `ids` (B, L).

        `mask` (B, L) is True for real tokens. Gradients reach the vectors.
        """
        return Cond(tokens=self.clip.text.read(vectors, mask), mask=mask)

    def tokenize(self, prompts: Sequence[str], rules: Rules = PLAIN) -> list[Tokenized]:
        """The prompts, one token per word; RequestError for one that is too long, and for any rules but the plain ones.

        Chunks and weights help models that were trained on rich captions; this one knows only short ones.
        """
        check_plain(rules)
        room = self.tokenizer.context_length - 2
        rows = zip(prompts, *self.tokenizer.encode(prompts), strict=True)
        return [
            Tokenized(text=text, count=Count(tokens=int(mask.sum()) - 2, room=room, chunks=1), tokens=(ids, mask))
            for text, ids, mask in rows
        ]

    def unknown(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """The words of the prompts that the model never saw, each with the known words nearest in spelling."""
        return {word: near for prompt in prompts for word, near in self.tokenizer.unknown(prompt)}


def unmasked(cond: Cond) -> Cond:
    """The tokens with zeros in place of the rows that the mask hides, and without the mask: how Wan reads words."""
    if cond.tokens is None or cond.mask is None:
        raise ValueError("this condition has no masked tokens")
    return Cond(tokens=cond.tokens * cond.mask[..., None])


class UnmaskedTextConditioner(TextConditioner):
    """A TextConditioner for networks that take no mask: its conditions are tokens alone, see `unmasked`."""

    def conditions(self, batches: Sequence[Sequence[Prompt]], rules: Rules = PLAIN) -> list[Cond]:
        """The condition of each batch of prompts, on the encoder's device."""
        return [unmasked(cond) for cond in super().conditions(batches, rules)]

    def read(self, vectors: Tensor, ids: Tensor, mask: Tensor) -> Cond:
        """The condition of any `vectors` (B, L, D) in place of those of the tokens, as in TextConditioner."""
        return unmasked(super().read(vectors, ids, mask))


def _ids_and_mask(prompt: Tokenized) -> tuple[Tensor, Tensor]:
    match prompt.tokens:
        case (Tensor() as ids, Tensor() as mask):
            return ids, mask
    raise TypeError(f"a prompt divided by another conditioner: {type(prompt.tokens).__name__}")
