"""Distributions of points in the plane, each a Gaussian mixture, so that exact results have a formula."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from scorefield.errors import RequestError

MOST_POINTS = 20_000  # of a file: the exact posterior mean sums over all of them for every state
CLASSES = ("person", "dog", "cat")  # along the spiral, from the inner end to the outer


class ShapeError(RequestError):
    """An unknown shape, or a file without points; the message says what to do."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shape:
    """Points `nodes` (N, 2) of equal weight, blurred by a Gaussian of deviation `spread`; float64.

    Centred, and scaled to a mean variance of 1 per coordinate. A curve is its midpoint quadrature, with nodes closer
    together than `spread`. `label` (N,) is the class, an index of CLASSES; a shape without classes has only class 0.
    """

    name: str
    nodes: Tensor
    spread: float
    label: Tensor

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` fresh samples (count, 2) float32, and their labels (count,)."""
        which = torch.randint(len(self.nodes), (count,), generator=generator)
        blur = self.spread * torch.randn(count, 2, generator=generator, dtype=torch.float64)
        return (self.nodes[which] + blur).float(), self.label[which]

    def only(self, label: int) -> "Shape":
        """The part of that class, in the same scale and place."""
        mine = self.label == label
        return Shape(name=self.name, nodes=self.nodes[mine], spread=self.spread, label=self.label[mine])


def _unit(name: str, nodes: Tensor, spread: float, label: Tensor | None = None) -> Shape:
    """The shape, centred and scaled; `spread` is in the unit of the given nodes."""
    nodes = nodes.double()
    centred = nodes - nodes.mean(0)
    scale = math.sqrt(float(centred.square().mean()) + spread**2)
    label = torch.zeros(len(nodes), dtype=torch.long) if label is None else label
    return Shape(name=name, nodes=centred / scale, spread=spread / scale, label=label)


def _middles(count: int) -> Tensor:
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def spiral() -> Shape:
    """Two and a quarter turns, uniform in the angle; person, dog and cat have a third of the nodes each."""
    share = _middles(1500)
    angle = math.pi / 2 + share * 4.5 * math.pi
    nodes = angle[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return _unit("spiral", nodes, 0.15, (share * len(CLASSES)).long())


def moons() -> Shape:
    """Two interleaved half circles."""
    angle = math.pi * _middles(500)
    upper = torch.stack([angle.cos(), angle.sin()], 1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    return _unit("moons", torch.cat([upper, lower]), 0.05, torch.arange(2).repeat_interleave(500))


def checkerboard() -> Shape:
    """The black squares of a board of 4 x 4."""
    cell = _middles(12)
    corners = [(row, column) for row in range(4) for column in range(4) if (row + column) % 2 == 0]
    squares = [torch.cartesian_prod(cell + column, cell + row) for row, column in corners]
    return _unit("checkerboard", torch.cat(squares), 0.04)


def ring() -> Shape:
    """Eight Gaussians on a circle."""
    angle = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    return _unit("ring", torch.stack([angle.cos(), angle.sin()], 1), 0.08)


SHAPES: Mapping[str, Callable[[], Shape]] = MappingProxyType(
    {"spiral": spiral, "moons": moons, "checkerboard": checkerboard, "ring": ring}
)


def find(name: str) -> Shape:
    """The shape of that name, or of the points of a CSV file; ShapeError otherwise."""
    if name in SHAPES:
        return SHAPES[name]()
    if name.lower().endswith(".csv"):
        return from_csv(Path(name))
    raise ShapeError(f"there is no shape {name!r}; the shapes are {', '.join(SHAPES)}, and any file.csv of points")


def from_points(points: Sequence[tuple[float, float]], source: str, *, name: str = "drawn") -> Shape:
    """The shape of given points; ShapeError, which calls them `source`, for too few, too many, or all the same."""
    if not 2 <= len(points) <= MOST_POINTS:
        raise ShapeError(f"{source} has {len(points):,} points; give from 2 to {MOST_POINTS:,}")
    nodes = torch.tensor(points, dtype=torch.float64)
    if float((nodes - nodes.mean(0)).abs().max()) == 0:
        raise ShapeError(f"{source}: all points are the same; give at least two different points")
    return _unit(name, nodes, 0.0)


def from_csv(path: Path) -> Shape:
    """Read the points of a CSV file, two numbers per row, with or without a heading; ShapeError names a wrong row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file of comma-separated values"
        raise ShapeError(f"cannot read {path}: {reason}") from None
    if rows and not any(_is_number(cell) for cell in rows[0][1]):
        del rows[0]
    return from_points([_point(path, number, row) for number, row in rows], str(path), name=path.stem)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _point(path: Path, number: int, row: list[str]) -> tuple[float, float]:
    if len(row) != 2 or not all(map(_is_number, row)):
        raise ShapeError(f"{path}, line {number}: {','.join(row)[:40]!r} is not two numbers, x and y")
    x, y = float(row[0]), float(row[1])
    if not (abs(x) < 1e12 and abs(y) < 1e12):
        raise ShapeError(f"{path}, line {number}: {','.join(row)[:40]!r} is not two finite numbers below 1e12")
    return x, y
