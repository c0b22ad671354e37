"""The contract of a stage: one part of a system, which makes something of what it is asked and given."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from PIL import Image
from torch import Tensor

from scorefield.core.level import Level
from scorefield.model.codec import Canvas
from scorefield.model.events import Batch, Step
from scorefield.prompt.rules import Count
from scorefield.request import Drawing, Group


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """All that a stage has decided and read for one request. It holds no network, so any copy of the model runs it."""

    filled: Mapping[str, object]  # fields of the request that the stage decided, as a record keeps them
    canvas: Canvas  # of what it makes
    steps: int
    levels: tuple[Level, ...] = ()  # that it visits
    lengths: Mapping[str, Count] = field(default_factory=dict)  # of the prompts that it reads, by text
    remarks: tuple[str, ...] = ()  # lines on decisions that differ from the request
    alike: tuple[Hashable, ...] = ()  # one an output: equal ones may share a batch; empty where all may


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The result of a stage for one batch, input of the next stage.

    The last stage of a system makes frames: an iterator of uint8 tensors (B, f, H, W, 3).
    """

    value: object


P = TypeVar("P", bound=StagePlan)


class Stage(Protocol[P]):
    """A part of a system. It keeps no state between calls, so threads may share it."""

    @property
    def takes(self) -> frozenset[type[Group]]:
        """The groups of options that it reads."""
        ...

    def plan(self, asked: Drawing) -> P:
        """Decide and read everything that `asked` needs; RequestError for what the stage cannot do."""
        ...

    def run(self, plan: P, batch: Batch, given: object) -> Iterator[Step | Made]:
        """Work on a batch, a Step at a time, and end with what was made; `given` is what the stage before made."""
        ...

    def look(self, x: Tensor) -> Sequence[Image.Image]:
        """A state (B, ...) of the stage as pictures, one an output."""
        ...
