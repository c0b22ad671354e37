"""The condition of Stable Diffusion XL: two text encoders, the second one's summary, and the picture's size."""

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from scorefield.core.cond import Cond
from scorefield.core.presence import present
from scorefield.nets.unet import time_features
from scorefield.prompt.conditioner import Conditioner, Prompt, PromptBatch, Tokenized
from scorefield.prompt.inversion import Learned
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.rules import PLAIN, Rules


class XlConditioner(Conditioner):
    """Cond(tokens (B, L, D1 + D2), pooled (B, P + 6 * features)) of both encoders (Podell et al. 2023, section 2).

    The network also gets six numbers, each as `features` time features: the original size of the picture, where it was
    cropped, and its size. With `blank`, the unconditional condition without a negative prompt is zeros, not that of the
    empty prompt; the published base was trained this way.
    """

    def __init__(
        self, first: PublishedConditioner, second: PublishedConditioner, *, features: int, blank: bool = True
    ) -> None:
        self.first, self.second = first, second
        self.features, self.blank = features, blank

    def with_learned(self, first: Sequence[Learned], second: Sequence[Learned]) -> Self:
        """A conditioner with these learned words, given for each encoder; InversionError if it cannot take them."""
        return self.with_encoders(self.first.with_learned(first), self.second.with_learned(second))

    def with_encoders(self, first: PublishedConditioner, second: PublishedConditioner) -> Self:
        """A conditioner with other copies of the encoders."""
        other = copy.copy(self)
        other.first, other.second = first, second
        return other

    def reads(self, batch: PromptBatch) -> Sequence[nn.Module]:
        """Both encoders."""
        return [self.first.encoder, self.second.encoder]

    def __call__(self, prompts: Sequence[Prompt], rules: Rules = PLAIN) -> Cond:
        """The condition of words alone: the tokens of both encoders, and `pooled` (B, P), the first chunk's summary."""
        return self.conditions([prompts], rules)[0]

    @torch.no_grad()
    def conditions(self, batches: Sequence[Sequence[Prompt]], rules: Rules = PLAIN) -> list[Cond]:
        """The condition of each batch of prompts; one encoder reads them all, then the other."""
        both = [[*map(_both, self.tokenized(prompts, rules))] for prompts in batches]
        read = self.first.conditions([[first for first, _ in batch] for batch in both], rules)
        others = [[second for _, second in batch] for batch in both]
        with present(self.second.encoder):
            read_again = self.second.conditions(others, rules)
            summaries = [self.second.summaries(prompts, rules) for prompts in others]
        return [
            Cond(tokens=torch.cat([one.tensors()["tokens"], other.tensors()["tokens"]], -1), pooled=summary)
            for one, other, summary in zip(read, read_again, summaries, strict=True)
        ]

    def tokenize(self, prompts: Sequence[str], rules: Rules = PLAIN) -> list[Tokenized]:
        """The prompts in chunks for both encoders, which are equally long."""
        both = zip(*(one.tokenize(prompts, rules) for one in (self.first, self.second)), strict=True)
        return [Tokenized(text=first.text, count=first.count, tokens=(first, second)) for first, second in both]

    def unknown(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """No word: byte pairs spell every one."""
        return {}

    def unread(self, prompts: Sequence[str], rules: Rules) -> list[str]:
        """The signs in the prompts that other programs interpret, and these rules read as ordinary letters."""
        return self.first.unread(prompts, rules)

    def pair(self, batch: PromptBatch) -> tuple[Cond, Cond]:
        """The conditions of a batch; the sizes say that no picture was resized or cropped."""
        pos, neg = super().pair(batch)
        if self.blank and not batch.negative_prompt:
            neg = neg.map(torch.zeros_like)
        return self._sized(pos, batch.width, batch.height), self._sized(neg, batch.width, batch.height)

    def read(self, vectors: Sequence[Tensor], ids: Sequence[Tensor], *, width: int, height: int) -> Cond:
        """The condition of any vectors (B, 77, D) in place of those of the tokens `ids` (B, 77), for each encoder.

        `width` and `height` are the picture's, in px. Gradients reach the vectors.
        """
        encoders = (self.first.encoder, self.second.encoder)
        (first, _), (second, summary) = (
            one.condition_of(*each) for one, *each in zip(encoders, vectors, ids, strict=True)
        )
        return self._sized(Cond(tokens=torch.cat([first, second], -1), pooled=summary), width, height)

    def _sized(self, cond: Cond, width: int, height: int) -> Cond:
        size = (height, width)
        words = cond.tensors()["pooled"]
        numbers: Tensor = torch.tensor([*size, 0, 0, *size], dtype=torch.int64, device=words.device)
        features = time_features(numbers, self.features).flatten().expand(len(words), -1)
        return Cond(tokens=cond.tokens, pooled=torch.cat([words.float(), features], 1))


def _both(prompt: Tokenized) -> tuple[Tokenized, Tokenized]:
    match prompt.tokens:
        case (Tokenized() as first, Tokenized() as second):
            return first, second
    raise TypeError(f"a prompt divided by another conditioner: {type(prompt.tokens).__name__}")
