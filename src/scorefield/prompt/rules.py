"""The rules by which prompts are read, and the length of a prompt."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from scorefield.errors import RequestError

Weighting = Literal["none", "a1111", "comfy", "compel"]
LongPrompt = Literal["chunks", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The options by which a prompt is read."""

    weighting: Weighting = "none"  # the program whose signs weight words
    long_prompt: LongPrompt = "refuse"  # whether a prompt too long for one chunk is read in several
    clip_skip: int = 1  # the block of the text encoder to read, counted back from the one used in training


PLAIN = Rules()


def check_plain(rules: Rules) -> None:
    """RequestError for any rules but the plain ones: the others are for Stable Diffusion's text encoders."""
    if rules.weighting != "none":
        raise RequestError("this model has no weights for words: weighting is for Stable Diffusion", option="weighting")
    if rules.long_prompt != "refuse":
        raise RequestError(
            "this model does not read prompts in chunks: they are for Stable Diffusion", option="long_prompt"
        )
    if rules.clip_skip != 1:
        raise RequestError(
            "this model reads the last block of its text encoder: clip_skip is for Stable Diffusion",
            option="clip_skip",
        )


class Count(NamedTuple):
    """The length of a prompt."""

    tokens: int  # without start and end
    room: int  # how many tokens fit in a chunk
    chunks: int

    def __str__(self) -> str:
        length = f"{self.tokens} of {self.room}"
        return length if self.chunks == 1 else f"{length}, read in {self.chunks} chunks"
