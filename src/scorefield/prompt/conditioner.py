"""What pictures are asked for, and what makes the condition of their network out of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from scorefield.core.cond import Cond


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


class Conditioner(ABC):
    """Prompts to their condition; ValueError from it and from `check` for a prompt that is too long."""

    @abstractmethod
    def __call__(self, prompts: Sequence[str]) -> Cond:
        """The condition (B, ...) of words; the empty prompt is the unconditional one."""

    @abstractmethod
    def check(self, prompts: Sequence[str]) -> None: ...

    @abstractmethod
    def unknown(self, prompts: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Words that the model never saw, each with the nearest it knows."""

    def pair(self, asked: Asked) -> tuple[Cond, Cond]:
        """The condition of each picture and, for each, the one that guidance leads away from; here of words alone."""
        count = len(asked.prompts)
        conds = self([*asked.prompts, asked.negative_prompt])
        return conds[:count], conds[count:].map(lambda value: value.expand(count, *value.shape[1:]))
