"""The condition of Stable Diffusion XL: two text towers, the second one's summary, and the picture's size."""

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.nets.unet import time_features
from scorefield.prompt.conditioner import Asked, Conditioner
from scorefield.prompt.inversion import Learned
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.rules import PLAIN, Count, Rules


class XlConditioner(Conditioner):
    """Cond(tokens (B, L, D1 + D2), pooled (B, P + 6 * features)) of both towers (Podell et al. 2023, section 2).

    `features` is how many time features each of six numbers has: the size that the picture is drawn as if it had had,
    the place that it is as if cut from, and its size. `blank` says that guidance without a negative prompt leads away
    from zeros, as the published base was trained, not from the empty prompt.
    """

    def __init__(
        self, first: PublishedConditioner, second: PublishedConditioner, *, features: int, blank: bool = True
    ) -> None:
        self.first, self.second = first, second
        self.features, self.blank = features, blank

    def with_learned(self, first: Sequence[Learned], second: Sequence[Learned]) -> Self:
        """The same that knows these learned words, by their vectors for either tower; InversionError if it cannot."""
        return self.with_towers(self.first.with_learned(first), self.second.with_learned(second))

    def with_towers(self, first: PublishedConditioner, second: PublishedConditioner) -> Self:
        """The same of other copies of the towers."""
        other = copy.copy(self)
        other.first, other.second = first, second
        return other

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], rules: Rules = PLAIN) -> Cond:
        """Words alone: the tokens of both towers, and `pooled` (B, P), the summary of the first chunk."""
        towers = [one(prompts, rules).tokens for one in (self.first, self.second)]
        tokens = torch.cat([one for one in towers if one is not None], -1)
        return Cond(tokens=tokens, pooled=self.second.summaries(prompts, rules))

    def counts(self, prompts: Sequence[str], rules: Rules = PLAIN) -> Sequence[Count]:
        """How long each prompt is: the towers read the same tokens."""
        return self.first.counts(prompts, rules)

    def unknown(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """None: byte pairs spell every word."""
        return {}

    def unread(self, prompts: Sequence[str], rules: Rules) -> list[str]:
        """The signs in the prompts that mean something elsewhere and by these rules are letters like any other."""
        return self.first.unread(prompts, rules)

    def pair(self, asked: Asked) -> tuple[Cond, Cond]:
        """Of pictures that are drawn as if they had always had their size, and were cut nowhere."""
        pos, neg = super().pair(asked)
        if self.blank and not asked.negative_prompt:
            neg = neg.map(torch.zeros_like)
        return self._sized(pos, asked), self._sized(neg, asked)

    def _sized(self, cond: Cond, asked: Asked) -> Cond:
        size = (asked.height, asked.width)
        words = cond.tensors()["pooled"]
        numbers: Tensor = torch.tensor([*size, 0, 0, *size], device=words.device)
        features = time_features(numbers, self.features).flatten().expand(len(words), -1)
        return Cond(tokens=cond.tokens, pooled=torch.cat([words.float(), features], 1))
