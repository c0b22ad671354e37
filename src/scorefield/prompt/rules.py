"""What may be said of how prompts are read, and what is said of their length."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Weighting = Literal["none", "a1111", "comfy", "compel"]
LongPrompt = Literal["chunks", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which signs in a prompt weigh its words, and whether one that is too long is read in chunks or refused."""

    weighting: Weighting = "none"
    long_prompt: LongPrompt = "refuse"


PLAIN = Rules()


class Count(NamedTuple):
    """The length of a prompt: its tokens without starts and ends, how many of them fit in a chunk, and its chunks."""

    tokens: int
    room: int
    chunks: int

    def __str__(self) -> str:
        told = f"{self.tokens} of {self.room}"
        return told if self.chunks == 1 else f"{told}, read in {self.chunks} chunks"
