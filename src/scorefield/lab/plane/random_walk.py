"""Adding noise to a picture step by step is a random walk.

Take a point of the data and add a little noise, a hundred times. Each step also shrinks the point a little, so that the
cloud neither grows nor drifts: this is the variance-preserving walk of DDPM,

    x_k = sqrt(1 - beta_k) x_(k-1) + sqrt(beta_k) z_k,        z_k ~ N(0, 1).

Nobody has to walk it to know where it ends. All the small normals add up to one, and the state after k steps is

    x_k = alpha_k x0 + sigma_k eps,        alpha_k^2 = product of (1 - beta_i),        sigma_k^2 = 1 - alpha_k^2.

The experiment walks the whole cloud in a hundred steps, and after every step compares the mean and the variance of the
noise in each point with this closed form. It is the reason why training can use any level directly.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from scorefield.core.level import Level
from scorefield.data import shapes
from scorefield.lab import style
from scorefield.lab.experiment import Animation, Criterion, Experiment, Settings, Watch
from scorefield.lab.plane import levels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (0, 10, 25, 50, 100)  # percent of the walk


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkSettings(Settings):
    """The shape, the steps of the walk, and its points."""

    shape: str = "spiral"
    steps: Annotated[int, Field(ge=4, le=1000)] = 100
    points: Annotated[int, Field(ge=100, le=100_000)] = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """The states (steps + 1, points, 2) of the walk, and its levels."""

    x: Tensor
    levels: list[Level]
    numbers: Mapping[str, float]


def run(settings: WalkSettings, watch: Watch) -> Walked:
    """Walk, and measure the noise of each level."""
    generator = torch.Generator().manual_seed(settings.seed)
    x0, _ = shapes.find(settings.shape).draw(settings.points, generator)
    passed = levels.walk_down(settings.steps, start=0.0, end=1.0)
    states = [x0]
    for before, after in watch(pairwise(passed), "walking", settings.steps):
        kept = after.alpha / before.alpha
        z = torch.randn(x0.shape, generator=generator)
        states.append(kept * states[-1] + math.sqrt(1 - kept**2) * z)
    x = torch.stack(states)
    eps = [(x[k] - passed[k].alpha * x0) / passed[k].sigma for k in range(1, settings.steps + 1)]
    error = 1 / math.sqrt(x0.numel())  # the standard error of a mean; a variance's is sqrt(2) times as large
    numbers = {
        "largest_mean_error_in_standard_errors": max(abs(float(one.mean())) for one in eps) / error,
        "largest_variance_error_in_standard_errors": max(abs(float(one.var()) - 1) for one in eps)
        / error
        / math.sqrt(2),
        "correlation_of_start_and_end": abs(float((x[-1] * x0).mean())),
    }
    return Walked(x=x, levels=passed, numbers=numbers)


def draw(result: Walked) -> "Figure":
    """Draw the path of one point, and the cloud at five moments."""
    figure, axes = style.figure(2, 3, width=8.0, height=5.6)
    steps = len(result.x) - 1
    way = result.x[:, 0]
    one = style.plane(axes[0], f"one point, {steps} steps", limit=3.0)
    one.plot(way[:, 0], way[:, 1], color=style.RANDOM, linewidth=0.8)
    style.dots(one, result.x[0], style.DATA, size=1, alpha=0.12)
    style.dots(one, way[0], style.DATA, size=40, alpha=1, label="start", order=3)
    style.dots(one, way[-1], style.EXACT, size=40, alpha=1, label="end", order=3)
    style.legend(one, "lower right")
    for plot, percent in zip(axes[1:], SHOWN, strict=True):
        k = percent * steps // 100
        style.plane(plot, f"step {k}, t = {levels.share(result.levels[k]):.2f}", limit=3.0)
        style.dots(plot, result.x[k], style.DATA, size=1.2, alpha=0.35)
    return figure


def animate(result: Walked) -> Animation:
    """The dissolving cloud, and the path of the point."""

    def frames() -> Iterator[Image.Image]:
        figure, (axes,) = style.figure(width=5.0, height=5.2)
        style.plane(axes, limit=3.0)
        cloud = style.dots(axes, result.x[0], style.DATA, size=1.5, alpha=0.25)
        (way,) = axes.plot([], [], color=style.RANDOM, linewidth=1.2, zorder=3)
        one = style.dots(axes, result.x[0][:1], style.EXACT, size=40, alpha=1, order=4)

        def update(k: int) -> None:
            cloud.set_offsets(result.x[k].numpy())
            way.set_data(result.x[: k + 1, 0, 0].numpy(), result.x[: k + 1, 0, 1].numpy())
            one.set_offsets(result.x[k][:1].numpy())
            axes.set_title(f"step {k} of {len(result.x) - 1}")

        yield from style.frames(figure, update, range(len(result.x)), dpi=100)

    return Animation(frames(), per_second=20)


walk = Experiment(
    name="walk",
    claim="A hundred small noisy steps end where one closed formula says.",
    criteria=(
        # The largest of 100 correlated deviations; 4 is passed by chance less than once in a hundred runs.
        Criterion("largest_mean_error_in_standard_errors", "<=", 4.0),
        Criterion("largest_variance_error_in_standard_errors", "<=", 4.0),
        Criterion("correlation_of_start_and_end", "<=", 0.05),
    ),
    settings=WalkSettings,
    run=run,
    draw=draw,
    animate=animate,
)
