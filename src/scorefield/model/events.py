"""The events of a job, in order. A job is an iterator of them; closing it cancels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from scorefield.core.level import Level
from scorefield.notes import Note


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Weights are about to be read, which can take a slow disk a minute: of the whole model, or of one part."""

    model: str
    part: str | None = None  # of a model whose parts are read when they are needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Outputs of a request that are drawn together: number `first` and those that follow."""

    first: int
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of one stage: the state, and the network's estimate of the clean output.

    i = 0..n; step n is the stage's result, whose x0 is its x. Tensors are (B, ...). `at` is None in a stage without
    noise levels. `progress` runs over the whole job, and ends at 1.
    """

    stage: int
    batch: Batch
    i: int
    n: int
    at: Level | None
    x: Tensor
    x0: Tensor
    progress: float = 0.0


class Media(Protocol):
    """A finished picture or film with its record."""

    @property
    def index(self) -> int:
        """Its number in the request."""
        ...

    def record(self) -> dict[str, object]:
        """Everything needed to make it again, as plain JSON."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output is finished."""

    media: Media


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """All outputs are finished; `seconds` is how long each part of the job took."""

    seconds: Mapping[str, float]


Event = Loading | Note | Step | Output | Finished
