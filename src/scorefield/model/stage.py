"""The contract of a stage: one part of a system, which makes something of what it is asked and given."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from PIL import Image
from torch import Tensor

from scorefield.core.level import Level
from scorefield.model.codec import Canvas
from scorefield.model.events import Batch
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


class StageStep(Protocol):
    """One step of a stage, i = 0..n, such as a Step of a sampler; tensors are (B, ...)."""

    @property
    def i(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def at(self) -> Level | None: ...  # None in a stage that knows no noise level
    @property
    def x(self) -> Tensor: ...
    @property
    def x0(self) -> Tensor: ...


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

    def run(self, plan: P, batch: Batch, given: object) -> Iterator[StageStep]:
        """Work on a batch, from step 0 to step n, whose x is the result; `given` is what the stage before made."""
        ...

    def make(self, plan: P, x: Tensor) -> object:
        """What the next stage is given, out of the result `x` (B, ...).

        The last stage of a system makes frames: an iterator of uint8 tensors (B, f, H, W, 3).
        """
        ...

    def look(self, x: Tensor) -> Sequence[Image.Image]:
        """A state (B, ...) of the stage as pictures, one an output."""
        ...
