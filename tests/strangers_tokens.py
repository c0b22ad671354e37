"""An autoregressive stage, in one file: it draws a picture token by token, and knows no level of noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from scorefield.core import noise
from scorefield.model.codec import Canvas
from scorefield.model.events import Batch
from scorefield.model.spec import ModelSpec
from scorefield.model.stage import StagePlan
from scorefield.model.system import Place, System
from scorefield.prompt.rules import Count
from scorefield.request import Drawing, Group, ModelChoice
from scorefield.request.size import Pictures
from scorefield.request.words import Prompts
from scorefield.weights.checkpoint import Checkpoint

SIDE, CELL, COLOURS = 3, 4, 8  # tokens along a side, px of each, the size of the vocabulary


class Token(NamedTuple):
    """One more token."""

    i: int
    n: int
    x: Tensor
    x0: Tensor
    at: None = None


@dataclass(frozen=True)
class Tokens:
    """Each token is drawn from chances that the words and the tokens before it decide."""

    takes: frozenset[type[Group]] = frozenset({Prompts, Pictures})

    def plan(self, asked: Drawing) -> StagePlan:
        side = SIDE * CELL
        lengths = {text: Count(tokens=len(text.split()), room=9, chunks=1) for text in asked.prompts}
        return StagePlan(
            filled={"width": side, "height": side}, canvas=Canvas(side, side), steps=SIDE**2, lengths=lengths
        )

    def run(self, plan: StagePlan, batch: Batch, given: object) -> Iterator[Token]:
        chances = noise.initial(batch.seeds, (SIDE**2, COLOURS), torch.device("cpu"))
        words = torch.tensor([[sum(map(ord, prompt)) % COLOURS] for prompt in batch.prompts])
        tokens = torch.zeros(len(batch.seeds), 0, dtype=torch.int64)
        for i in range(plan.steps + 1):
            yield Token(i, plan.steps, tokens, tokens)
            if i < plan.steps:
                before = tokens[:, -1:] if i else words
                tokens = torch.cat([tokens, (chances[:, i].argmax(-1, keepdim=True) + before) % COLOURS], 1)

    def make(self, plan: StagePlan, x: Tensor) -> Iterator[Tensor]:
        return iter([self.pixels(x)[:, None]])

    def pixels(self, tokens: Tensor) -> Tensor:
        """Pixels (B, H, W, 3) uint8; tokens that are not there yet are black."""
        whole = torch.full((len(tokens), SIDE**2), 0)
        whole[:, : tokens.shape[1]] = tokens * 36
        grid = whole.view(-1, SIDE, SIDE).repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)
        return grid[..., None].expand(*grid.shape, 3).byte()

    def look(self, x: Tensor, frames: int = 1) -> Sequence[Image.Image]:
        return [Image.fromarray(one) for one in self.pixels(x).numpy()]


class Family:
    """Loaded by the name `toy-tokens`."""

    names = {"toy-tokens": None}  # noqa: RUF012

    def specs(self) -> Sequence[ModelSpec]:
        return ()

    def recognise(self, checkpoint: Checkpoint) -> None:
        return None

    def build(self, identity: None, choice: ModelChoice, place: Place) -> System:
        return System(choice=choice, stages=(Tokens(),), device=place.device, dtype=torch.float32, sha256="4" * 64)
