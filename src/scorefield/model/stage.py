"""The contract of a stage: a part of a system, which computes an output from a drawing and the previous stage's."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from PIL import Image
from torch import Tensor

from scorefield.core.level import Level
from scorefield.model.codec import Canvas
from scorefield.model.events import Batch, Loading
from scorefield.prompt.rules import Count
from scorefield.request import Drawing, Group


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """All that a stage decided and read for a request. It holds no network, so any copy of the model can run it."""

    filled: Mapping[str, object]  # fields of the request that the stage decided, as a record keeps them
    canvas: Canvas  # of its output
    steps: int
    levels: tuple[Level, ...] = ()  # that it visits
    lengths: Mapping[str, Count] = field(default_factory=dict)  # of the prompts that it reads, by text
    remarks: tuple[str, ...] = ()  # lines on decisions that differ from the request
    alike: tuple[Hashable, ...] = ()  # one per output: equal ones may share a batch; empty if all may


class StageStep(Protocol):
    """One step of a stage, i = 0..n, such as a Step of a sampler; tensors are (B, ...)."""

    @property
    def i(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def at(self) -> Level | None: ...  # None in a stage without noise levels
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

    def run(self, plan: P, batch: Batch, given: object) -> Iterator[StageStep | Loading]:
        """Work on a batch, from step 0 to step n, whose x is the result; `given` is the previous stage's output.

        A Loading comes before a part is read that is not in memory, those that `make` will need included.
        """
        ...

    def make(self, plan: P, x: Tensor) -> object:
        """The stage's output, computed from the result `x` (B, ...); the next stage is given it.

        The last stage of a system makes frames: an iterator of uint8 tensors (B, f, H, W, 3).
        """
        ...

    def look(self, x: Tensor, frames: int = 1) -> Sequence[Image.Image]:
        """A state (B, ...) of the stage as pictures, one per output; of a film, up to so many frames in a row."""
        ...
