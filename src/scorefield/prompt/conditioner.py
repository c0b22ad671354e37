"""The contract of a conditioner: prompts, and whatever else a model reads, to the condition of its network."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.prompt.rules import PLAIN, Count, Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptBatch:
    """What a conditioner reads for one batch of pictures: a prompt and a seed for each, and what all have in common."""

    prompts: Sequence[str]
    negative_prompt: str
    seeds: Sequence[int]
    width: int  # px
    height: int  # px
    picture: Tensor | None = None  # the image prompt (1, 3, S, S) in [0, 1]
    noise_level: int = 0  # of the image prompt, from 0 to 999
    rules: Rules = PLAIN  # how the prompts are read


class Conditioner(ABC):
    """Prompts to their condition.

    A call and `counts` raise a ValueError for a prompt that is too long, and for rules that the model does not know.
    """

    @abstractmethod
    def __call__(self, prompts: Sequence[str], rules: Rules = PLAIN) -> Cond:
        """The condition (B, ...) of prompts that take equally many chunks; that of "" is the unconditional one."""

    @abstractmethod
    def counts(self, prompts: Sequence[str], rules: Rules = PLAIN) -> Sequence[Count]:
        """How long each prompt is."""

    @abstractmethod
    def unknown(self, prompts: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The words of the prompts that the model never saw, each with the nearest words that it knows."""

    def unread(self, prompts: Sequence[str], rules: Rules) -> Sequence[str]:
        """The signs in the prompts that have a meaning in other programs, and by these rules are ordinary letters."""
        return []

    def pair(self, batch: PromptBatch) -> tuple[Cond, Cond]:
        """The conditions of a batch: the one to guide towards, and the one to guide away from.

        The two may differ in length: padding the shorter one would change its pictures. Here they are of words alone;
        models that read more override this.
        """
        pos, neg = (self(prompts, batch.rules) for prompts in (batch.prompts, [batch.negative_prompt]))
        return pos, neg.expand(len(batch.prompts))
