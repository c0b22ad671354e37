"""A picture is a point, and noise moves it.

A picture of two grey pixels is two numbers, and two numbers are a point in the plane: the left pixel is its position to
the right, the right pixel its height. Black is -1 and white is 1, so all such pictures fill a square. A real picture
has thousands of pixels and lies in as many dimensions, which nobody can draw, but everything about points holds there
too. That is why the other experiments in the plane are about pictures.

Cut pairs of neighbouring pixels out of rendered scenes and look where they lie. The square is not filled. A pixel is
mostly as bright as its neighbour, so the points crowd near the diagonal. The same pixels, paired at random, are as
bright and as dark as before, but lie all over the square: what makes a picture is not which values it has but which go
together. The distribution of natural pictures is a thin set in a large space, and this is the smallest example. The
spiral of the other experiments represents it.

Adding noise to a picture is a step in the plane. The picture fades and its pixels become independent; the point walks
away, also out of the square, to values that no screen shows. The difference of two pictures is the distance of their
points, with or without noise,

    |x - y|^2 = (x_left - y_left)^2 + (x_right - y_right)^2.

The noise has no diagonal, so it washes out the crowd. If neighbouring pixels have the variance v and the covariance c,
then the correlation in alpha x0 + sigma eps is

    alpha^2 c / (alpha^2 v + sigma^2),

from c / v for the clean pictures down to none. To make a picture is to find the way back, from anywhere in the plane to
the crowd. The scenes have smooth skies and flat colours, and their neighbours are even more alike than those of
photographs, for which 0.9 to 0.95 is reported.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from scorefield.core.level import noisy
from scorefield.data.render import render
from scorefield.data.scenes import scene
from scorefield.lab import style
from scorefield.lab.experiment import Animation, Criterion, Experiment, Settings, Watch
from scorefield.lab.plane import levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLUMNS, ROWS = 4, 6  # of the sheet of pictures
CHOSEN = (0, 5, 10, 15)  # of them, in colours
COLOURS = (style.EXACT, style.LEARNED, style.GUIDED, style.OTHER)
STEPS = 100
SHOWN = 40  # of them, in the figure
TIMES = [0.05 * k for k in range(20)]
BAND = 0.1  # the largest difference of similar brightnesses, in a range of 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelsSettings(Settings):
    """The number of scenes, and of pairs of neighbouring pixels taken from each."""

    scenes: Annotated[int, Field(ge=10, le=2000)] = 200
    pairs: Annotated[int, Field(ge=10, le=2000)] = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Pairs (N, 2) of neighbours, clean and noisy, and of unrelated pixels; a walk (steps + 1, 24, 2); correlations."""

    neighbours: Tensor
    noisy: Tensor
    strangers: Tensor
    walk: Tensor
    correlation: list[float]
    predicted: list[float]
    numbers: Mapping[str, float]


def cut(index: int, seed: int, pairs: int, generator: torch.Generator) -> Tensor:
    """Pictures (pairs, 1, 1, 2) in [-1, 1] of neighbouring pixels, cut out of scene `index` of `seed`."""
    grey = torch.tensor(render(scene(index, seed))).float().mean(2) / 127.5 - 1
    rows = torch.randint(grey.shape[0], (pairs,), generator=generator)
    columns = torch.randint(grey.shape[1] - 1, (pairs,), generator=generator)
    return torch.stack([grey[rows, columns], grey[rows, columns + 1]], 1).reshape(-1, 1, 1, 2)


def correlation(x: Tensor) -> float:
    """The correlation of the two coordinates of x (N, 2)."""
    return float(torch.corrcoef(x.T)[0, 1])


def near_the_diagonal(x: Tensor) -> float:
    """The share of points (N, 2) whose coordinates differ by at most BAND."""
    return float(((x[:, 0] - x[:, 1]).abs() <= BAND).float().mean())


def walked(start: Tensor, generator: torch.Generator) -> Tensor:
    """The random walk of `start` (B, ...) in STEPS steps to pure noise: (STEPS + 1, B, ...)."""
    states = [start]
    for before, after in pairwise(levels.walk_down(STEPS, start=0.0, end=1.0)):
        kept = float(after.alpha / before.alpha)
        states.append(kept * states[-1] + (1 - kept**2) ** 0.5 * torch.randn(start.shape, generator=generator))
    return torch.stack(states)


def run(settings: PixelsSettings, watch: Watch) -> Seen:
    """Take pixels from scenes, measure where they lie, and add noise to them."""
    generator = torch.Generator().manual_seed(settings.seed)
    indices = watch(range(settings.scenes), "rendering scenes", settings.scenes)
    pictures = torch.cat([cut(index, settings.seed, settings.pairs, generator) for index in indices])
    points = pictures.reshape(-1, 2)
    every = points.flatten()
    strangers = every[torch.randperm(len(every), generator=generator)].reshape(-1, 2)
    chosen = torch.randperm(len(pictures), generator=generator)[: COLUMNS * ROWS]
    variance, covariance = float(points.var(0).mean()), float(torch.cov(points.T)[0, 1])
    found, predicted, gaps = [], [], []
    for at in map(levels.level, TIMES):
        eps = torch.randn(pictures.shape, generator=generator)
        x, moved = noisy(pictures, eps, at), noisy(points, eps.reshape(-1, 2), at)
        apart = (x[1:] - x[:-1]).flatten(1).square().sum(1).sqrt()
        gaps.append(float((apart - torch.hypot(*(moved[1:] - moved[:-1]).T)).abs().max()))
        found.append(correlation(moved))
        predicted.append(float(at.alpha**2 * covariance / (at.alpha**2 * variance + at.sigma**2)))
    near, near_strangers = near_the_diagonal(points), near_the_diagonal(strangers)
    return Seen(
        neighbours=points,
        noisy=noisy(points, torch.randn(points.shape, generator=generator), levels.level(SHOWN / STEPS)),
        strangers=strangers,
        walk=walked(pictures[chosen], generator).flatten(2),
        correlation=found,
        predicted=predicted,
        numbers={
            "largest_gap_of_both_distances": max(gaps),
            "correlation_of_neighbours": correlation(points),
            "correlation_of_strangers": abs(correlation(strangers)),
            "share_near_the_diagonal": near,
            "share_of_strangers_near_it": near_strangers,
            "times_more_near_it_than_strangers": near / near_strangers,
            "largest_error_of_the_predicted_correlation": max(
                abs(one - other) for one, other in zip(found, predicted, strict=True)
            ),
        },
    )


def sheet(pictures: Tensor) -> Tensor:
    """Two-pixel pictures (24, 2) on one sheet (rows, columns), with NaN between them."""
    framed = torch.nn.functional.pad(pictures.reshape(ROWS, COLUMNS, 1, 2), (1, 1, 1, 1), value=torch.nan)
    return framed.permute(0, 2, 1, 3).reshape(3 * ROWS, 4 * COLUMNS)


def _pictures(axes: "Axes", pictures: Tensor, title: str) -> "AxesImage":
    """Draw the sheet of pictures, with the chosen ones framed in their colours."""
    axes.set(xticks=[], yticks=[], facecolor="#DCE4EA", title=title, box_aspect=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for one, colour in zip(CHOSEN, COLOURS, strict=True):
        left, top = 4 * (one % COLUMNS) + 0.5, 3 * (one // COLUMNS) + 0.5
        axes.plot(
            [left, left + 2, left + 2, left, left], [top, top, top + 1, top + 1, top], color=colour, linewidth=2.5
        )
    return axes.imshow(sheet(pictures).numpy(), cmap="gray", vmin=-1, vmax=1, aspect="auto")


def _square(axes: "Axes", title: str, limit: float = 2.0) -> None:
    """Set up axes for two-pixel pictures, with the square of displayable ones."""
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=title)
    axes.set(xlabel="left pixel", ylabel="right pixel", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axes.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], color=style.DATA, linewidth=0.8)


def _walkers(axes: "Axes", walk: Tensor) -> None:
    """Draw the pictures of the sheet after a walk (steps, 24, 2), with the paths of the chosen ones."""
    style.dots(axes, walk[-1], style.DATA, size=16, alpha=0.8)
    for one, colour in zip(CHOSEN, COLOURS, strict=True):
        axes.plot(*walk[:, one].T.numpy(), color=colour, linewidth=0.9)
        style.dots(axes, walk[-1, one], colour, size=55, alpha=1, order=3)


def draw(result: Seen) -> "Figure":
    """Draw pictures and their points, clean and noisy, and the points of neighbouring and unrelated pixels."""
    figure, axes = style.figure(3, 3, width=8.0, height=8.2)
    for row, steps, name in ((0, 0, "clean"), (3, SHOWN, f"{SHOWN} steps of noise")):
        _pictures(axes[row], result.walk[steps], f"24 pictures, {name}")
        _square(axes[row + 1], "the same as points")
        _walkers(axes[row + 1], result.walk[: steps + 1])
    for plot, points, title in (
        (2, result.neighbours, "20,000 neighbours"),
        (5, result.noisy, "with that noise"),
        (7, result.strangers, "paired at random"),
    ):
        _square(axes[plot], title.replace("20,000", f"{len(points):,}"))
        style.dots(axes[plot], points, style.DATA, size=1.5, alpha=0.15)
    for points, colour, label in (
        (result.neighbours, style.LEARNED, "neighbours"),
        (result.strangers, style.RANDOM, "at random"),
    ):
        apart = (points[:, 0] - points[:, 1]).abs().sort().values
        axes[6].plot(apart, torch.linspace(0, 1, len(apart)), color=colour, label=label)
    axes[6].axvline(BAND, color=style.DATA, linewidth=0.8, linestyle="--")
    axes[6].set(xlabel="difference of both pixels", ylim=(0, 1.03), title="share of pairs within it")
    style.legend(axes[6], "lower right")
    axes[8].plot(TIMES, result.predicted, color=style.EXACT, label="predicted")
    axes[8].scatter(TIMES, result.correlation, color=style.DATA, s=14, zorder=3, label="measured")
    axes[8].set(xlabel="t", xlim=(-0.03, 1), ylim=(-0.05, 1.05), title="correlation under noise")
    style.legend(axes[8], "upper right")
    return figure


def animate(result: Seen) -> Animation:
    """The pictures as noise is added, and the walk of their points."""

    def frames() -> Iterator[Image.Image]:
        figure, (left, right) = style.figure(1, 2, width=8.0, height=4.5)
        sheet_shown = _pictures(left, result.walk[0], "two-pixel pictures")
        _square(right, "their points", limit=3.0)
        cloud = style.dots(right, result.walk[0], style.DATA, size=16, alpha=0.8)
        ways = [right.plot([], [], "-o", markevery=[-1], color=colour, linewidth=0.9)[0] for colour in COLOURS]

        def update(k: int) -> None:
            sheet_shown.set_data(sheet(result.walk[k]).numpy())
            cloud.set_offsets(result.walk[k].numpy())
            for one, way in zip(CHOSEN, ways, strict=True):
                way.set_data(*result.walk[: k + 1, one].T.numpy())
            right.set_title(f"their points, step {k} of {STEPS}")

        yield from style.frames(figure, update, range(STEPS + 1))

    return Animation(frames(), per_second=12)


pixels = Experiment(
    name="pixels",
    claim="A picture of two pixels is a point that noise moves about the plane,"
    " and neighbouring pixels of scenes lie close to its diagonal.",
    criteria=(
        Criterion("largest_gap_of_both_distances", "<=", 1e-5),  # rounding
        Criterion("correlation_of_neighbours", ">=", 0.8),  # photographs are reported at 0.9 to 0.95
        Criterion("times_more_near_it_than_strangers", ">=", 2.0),
        Criterion("correlation_of_strangers", "<=", 0.03),  # four standard errors of 20,000 pairs
        Criterion("largest_error_of_the_predicted_correlation", "<=", 0.03),
    ),
    settings=PixelsSettings,
    run=run,
    draw=draw,
    animate=animate,
)
