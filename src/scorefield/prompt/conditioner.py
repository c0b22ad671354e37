"""The contract of a conditioner: prompts, and whatever else a model reads, to the condition of its network."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.prompt.rules import PLAIN, Count, Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized:
    """A prompt that a conditioner has divided into tokens, and can read without doing so again."""

    text: str
    count: Count
    tokens: object  # known to the conditioner alone

    def __bool__(self) -> bool:
        """Whether there are any words, as of a text."""
        return bool(self.text)


Prompt = str | Tokenized


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptBatch:
    """What a conditioner reads for one batch of pictures: a prompt and a seed for each, and what all have in common."""

    prompts: Sequence[Prompt]
    negative_prompt: Prompt
    seeds: Sequence[int]
    width: int  # px
    height: int  # px
    picture: Tensor | None = None  # the image prompt (1, 3, S, S) in [0, 1]
    noise_level: int = 0  # of the image prompt, from 0 to 999
    rules: Rules = PLAIN  # how the prompts are read


class Conditioner(ABC):
    """Prompts to their condition."""

    @abstractmethod
    def tokenize(self, prompts: Sequence[str], rules: Rules = PLAIN) -> list[Tokenized]:
        """The prompts divided into tokens.

        RequestError for a prompt that is too long, and for rules that the model does not know.
        """

    @abstractmethod
    def __call__(self, prompts: Sequence[Prompt], rules: Rules = PLAIN) -> Cond:
        """The condition (B, ...) of prompts that take equally many chunks; that of "" is the unconditional one.

        Errors are those of `tokenize`, which texts go through first.
        """

    def conditions(self, batches: Sequence[Sequence[Prompt]], rules: Rules = PLAIN) -> list[Cond]:
        """The condition of each batch of prompts."""
        return [self(prompts, rules) for prompts in batches]

    def counts(self, prompts: Sequence[str], rules: Rules = PLAIN) -> list[Count]:
        """The length of each prompt; errors are those of `tokenize`."""
        return [one.count for one in self.tokenize(prompts, rules)]

    @abstractmethod
    def unknown(self, prompts: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The words of the prompts that the model never saw, each with the nearest words that it knows."""

    def unread(self, prompts: Sequence[str], rules: Rules) -> Sequence[str]:
        """The signs in the prompts that have a meaning in other programs, and by these rules are ordinary letters."""
        return []

    def tokenized(self, prompts: Sequence[Prompt], rules: Rules) -> list[Tokenized]:
        """The prompts, those that are texts divided into tokens, each text once."""
        texts = list(dict.fromkeys(one for one in prompts if isinstance(one, str)))
        known = dict(zip(texts, self.tokenize(texts, rules), strict=True)) if texts else {}
        return [known[one] if isinstance(one, str) else one for one in prompts]

    def pair(self, batch: PromptBatch) -> tuple[Cond, Cond]:
        """The conditions of a batch: the one to guide towards, and the one to guide away from.

        The two may differ in length: padding the shorter one would change its pictures. Here they are of words alone;
        models that read more override this.
        """
        pos, neg = self.conditions([batch.prompts, [batch.negative_prompt]], batch.rules)
        return pos, neg.expand(len(batch.prompts))
