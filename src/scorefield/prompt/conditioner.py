"""What pictures are asked for, and what makes the condition of their network out of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.prompt.rules import PLAIN, Count, Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The pictures that are drawn at once: a prompt and a seed for each, and what they have in common."""

    prompts: Sequence[str]
    negative_prompt: str
    seeds: Sequence[int]
    width: int  # px
    height: int  # px
    picture: Tensor | None = None  # the image prompt (1, 3, S, S) in [0, 1]
    noise_level: int = 0  # of the image prompt, from 0 to 999
    rules: Rules = PLAIN  # how the prompts are read


class Conditioner(ABC):
    """Prompts to their condition; ValueError from it and from `counts` for one too long, or rules that it lacks."""

    @abstractmethod
    def __call__(self, prompts: Sequence[str], rules: Rules = PLAIN) -> Cond:
        """The condition (B, ...) of words that take equally many chunks; the empty prompt is the unconditional one."""

    @abstractmethod
    def counts(self, prompts: Sequence[str], rules: Rules = PLAIN) -> Sequence[Count]:
        """How long each prompt is."""

    @abstractmethod
    def unknown(self, prompts: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Words that the model never saw, each with the nearest it knows."""

    def unread(self, prompts: Sequence[str], rules: Rules) -> Sequence[str]:
        """Signs in the prompts that mean something elsewhere, and by these rules are letters like any other."""
        return []

    def pair(self, asked: Asked) -> tuple[Cond, Cond]:
        """The condition of each picture and, for each, the one that guidance leads away from; here of words alone.

        The two may be of different lengths: to fill the shorter up would change its pictures.
        """
        pos, neg = (self(prompts, asked.rules) for prompts in (asked.prompts, [asked.negative_prompt]))
        return pos, neg.map(lambda value: value.expand(len(asked.prompts), *value.shape[1:]))
