"""The contract of a conditioner: from prompts, and whatever else a model reads, to its network's condition."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from scorefield.core.cond import Cond
from scorefield.prompt.rules import PLAIN, Count, Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized:
    """A prompt that a conditioner has divided into tokens once."""

    text: str
    count: Count
    tokens: object  # only the conditioner knows their type

    def __bool__(self) -> bool:
        """Whether the text is not empty, as for a str."""
        return bool(self.text)


Prompt = str | Tokenized


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptBatch:
    """A conditioner's input for one batch of pictures: a prompt and a seed for each, and what all share."""

    prompts: Sequence[Prompt]
    negative_prompt: Prompt
    seeds: Sequence[int]
    width: int  # px
    height: int  # px
    pictures: Tensor | None = None  # (P, 3, S, S) in [0, 1]: the image prompt, or the given frames of a film
    noise_level: int = 0  # of the image prompt, from 0 to 999
    rules: Rules = PLAIN  # how the prompts are read
    ahead: Sequence[Prompt] = ()  # all prompts of the request, which a conditioner may read at once


class Conditioner(ABC):
    """From prompts to their condition."""

    @abstractmethod
    def tokenize(self, prompts: Sequence[str], rules: Rules = PLAIN) -> list[Tokenized]:
        """The prompts divided into tokens.

        RequestError for a prompt that is too long, and for rules that the model does not know.
        """

    @abstractmethod
    def __call__(self, prompts: Sequence[Prompt], rules: Rules = PLAIN) -> Cond:
        """The condition (B, ...) of prompts with equally many chunks; that of "" is the unconditional one.

        Errors are those of `tokenize`, which is applied to texts first.
        """

    def conditions(self, batches: Sequence[Sequence[Prompt]], rules: Rules = PLAIN) -> list[Cond]:
        """The condition of each batch of prompts."""
        return [self(prompts, rules) for prompts in batches]

    def counts(self, prompts: Sequence[str], rules: Rules = PLAIN) -> list[Count]:
        """The length of each prompt; errors are those of `tokenize`."""
        return [one.count for one in self.tokenize(prompts, rules)]

    @abstractmethod
    def unknown(self, prompts: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The words of the prompts that the model never saw, each with the nearest known words."""

    def unread(self, prompts: Sequence[str], rules: Rules) -> Sequence[str]:
        """The signs in the prompts that other programs interpret, and these rules read as ordinary letters."""
        return []

    def tokenized(self, prompts: Sequence[Prompt], rules: Rules) -> list[Tokenized]:
        """The prompts, with texts divided into tokens, each text once."""
        texts = list(dict.fromkeys(one for one in prompts if isinstance(one, str)))
        known = dict(zip(texts, self.tokenize(texts, rules), strict=True)) if texts else {}
        return [known[one] if isinstance(one, str) else one for one in prompts]

    def reads(self, batch: PromptBatch) -> Sequence[nn.Module]:
        """The networks that `pair` will run, in order, as far as they may be on demand."""
        return []

    def pair(self, batch: PromptBatch) -> tuple[Cond, Cond]:
        """The conditions of a batch: the one to guide towards, and the one to guide away from.

        The two may differ in length: padding the shorter one would change its pictures. This reads only words; models
        that read more override it.
        """
        pos, neg = self.conditions([batch.prompts, [batch.negative_prompt]], batch.rules)
        return pos, neg.expand(len(batch.prompts))
