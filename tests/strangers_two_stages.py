"""A system of two stages, in one file: a base that draws small, and an upsampler that is given what the base made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from tests import toy
from torch import Tensor

from scorefield.core import noise
from scorefield.core.level import Level
from scorefield.model.codec import Canvas
from scorefield.model.events import Batch
from scorefield.model.spec import ModelSpec
from scorefield.model.stage import StagePlan
from scorefield.model.system import Place, System
from scorefield.request import Drawing, Group, ModelChoice
from scorefield.request.sampling import Sampling
from scorefield.request.size import Pictures
from scorefield.request.words import Prompts
from scorefield.sample.walk import Step
from scorefield.weights.checkpoint import Checkpoint

FACTOR = 2


@dataclass(frozen=True)
class Base:
    """The toy's walk over a canvas of half the side; it makes pixels (B, 3, h, w) in [-1, 1]."""

    takes: frozenset[type[Group]] = frozenset({Prompts, Sampling, Pictures})

    def plan(self, asked: Drawing) -> StagePlan:
        small = {"width": (asked.width or 32) // FACTOR, "height": (asked.height or 32) // FACTOR}
        return inner().plan(asked.model_copy(update=small))

    def run(self, plan: StagePlan, batch: Batch, given: object) -> Iterator[Step]:
        return inner().run(plan, batch, given)

    def make(self, plan: StagePlan, x: Tensor) -> Tensor:
        return x.clamp(-1, 1)

    def look(self, x: Tensor, frames: int = 1) -> Sequence[Image.Image]:
        return inner().look(x, frames)


@dataclass(frozen=True)
class Upsampler:
    """Twice the side in two steps, each a little sharper, with noise of the picture's seed."""

    takes: frozenset[type[Group]] = frozenset({Prompts, Pictures})

    def plan(self, asked: Drawing) -> StagePlan:
        canvas = Canvas(asked.width or 32, asked.height or 32)
        return StagePlan(filled={"width": canvas.width, "height": canvas.height}, canvas=canvas, steps=2)

    def run(self, plan: StagePlan, batch: Batch, given: object) -> Iterator[Step]:
        assert isinstance(given, Tensor)
        x = given.repeat_interleave(FACTOR, -1).repeat_interleave(FACTOR, -2)
        fresh = noise.initial(batch.seeds, x.shape[1:], x.device)
        for i in range(3):
            at = Level(1.0, 0.2 * (2 - i))
            yield Step(i, 2, at, x + at.sigma * fresh, x)

    def make(self, plan: StagePlan, x: Tensor) -> Iterator[Tensor]:
        return iter([((x + 1) * 127.5).round().clamp(0, 255).byte().movedim(1, -1)[:, None]])

    def look(self, x: Tensor, frames: int = 1) -> Sequence[Image.Image]:
        return inner().look(x, frames)


def inner():
    return replace(toy.model().stages[0], further=frozenset())


class Family:
    """Loaded by the name `two-stages`."""

    names = {"two-stages": None}  # noqa: RUF012

    def specs(self) -> Sequence[ModelSpec]:
        return ()

    def recognise(self, checkpoint: Checkpoint) -> None:
        return None

    def build(self, identity: None, choice: ModelChoice, place: Place) -> System:
        return System(
            choice=choice, stages=(Base(), Upsampler()), device=place.device, dtype=torch.float32, sha256="2" * 64
        )
