"""An autoregressive model: first the cell of one coordinate, then, given it, the cell of the other.

The square around the data is cut into cells; a table gives the probability of a column, and a network that of every row
in a given column, like GPT for every next word. A sample takes one call per coordinate, then a uniform place in the
cell. The log-likelihood is exact: the logarithm of the cell's probability over its area. Two tables were tried, with
128 and 256 cells per side.
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.data.shapes import Shape
from scorefield.lab.families.generative_family import (
    Family,
    Likelihood,
    Model,
    Training,
    Update,
    minimise,
    seeded,
    variant,
)

WIDTHS = {128: 70, 256: 46}  # width of the network by cells per side, for the same number of parameters


class Autoregressive(Model):
    """A table of `cells` x `cells` over the square [-reach, reach]^2."""

    likelihood: ClassVar[Likelihood] = "exact"

    def __init__(self, reach: float, *, cells: int, depth: int = 2) -> None:
        super().__init__()
        width = WIDTHS[cells]
        self.reach, self.cells = reach, cells
        self.columns = nn.Parameter(torch.zeros(cells))
        self.column = nn.Embedding(cells, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.rows = nn.Linear(width, cells)

    @property
    def calls(self) -> int:
        return 2

    def rows_in(self, column: Tensor) -> Tensor:
        """Logits (B, cells) of the rows, given the columns (B,)."""
        h = self.column(column)
        for hidden in self.hidden:
            h = h + hidden(F.silu(h))
        out: Tensor = self.rows(F.silu(h))
        return out

    def cell(self, x: Tensor) -> Tensor:
        """Column and row (B, 2) of points (B, 2); points outside belong to the nearest cell."""
        return ((x / self.reach + 1) / 2 * self.cells).floor().long().clamp(0, self.cells - 1)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        column = torch.multinomial(self.columns.softmax(0), count, replacement=True, generator=generator)
        row = torch.multinomial(self.rows_in(column).softmax(1), 1, generator=generator)[:, 0]
        place = torch.stack([column, row], 1) + torch.rand(count, 2, generator=generator)
        return (2 * place / self.cells - 1) * self.reach

    def log_likelihood(self, x: Tensor) -> Tensor:
        column, row = self.cell(x).T
        of_column = self.columns.log_softmax(0)[column]
        of_row = -F.cross_entropy(self.rows_in(column), row, reduction="none")
        inside = (x.abs() <= self.reach).all(1)
        density = of_column + of_row - 2 * math.log(2 * self.reach / self.cells)
        return density.masked_fill(~inside, -math.inf)


def loss(model: Autoregressive, x0: Tensor, generator: torch.Generator) -> Tensor:
    """The negative log-likelihood; it uses no noise."""
    return -model.log_likelihood(x0.clamp(-model.reach, model.reach)).mean()


def training(shape: Shape, how: Training, seed: int, *, cells: int = 128) -> Iterator[Update[Autoregressive]]:
    """Train by maximum likelihood. The square extends six spreads beyond the outermost node."""
    reach = float(shape.nodes.abs().max()) + max(6 * shape.spread, 0.1)
    return minimise(seeded(lambda: Autoregressive(reach, cells=cells), seed), loss, shape, how, seed)


FAMILY = Family(name="autoregressive", title="autoregressive", training=training, how=Training(steps=2950, lr=0.01))
VARIANTS: Mapping[str, Family] = {
    "cells_128": FAMILY,
    "cells_256": variant(FAMILY, partial(training, cells=256), steps=2950),
}
