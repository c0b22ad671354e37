"""A cloud of pure noise folds onto a spiral.

This is the whole story in one picture. Think of a picture as a point: with two pixels, the brightness of one is its
position to the right, the brightness of the other its height. Meaningful pictures do not lie just anywhere; here they
lie on a spiral. To make a new one is to find a point on the spiral without knowing where the spiral is.

A small network sees points of the spiral with noise added, at every strength of noise, and learns to predict the noise.
For a point x at a level of noise t (1 is pure noise, 0 is none) it thereby predicts where x probably came from, and
that makes it a field of arrows: at each place and each t, an arrow towards likelier, cleaner data.

To generate, start a thousand points of pure noise and let them follow the arrows while t falls from 1 to 0. In every
step the network splits a point into a clean part x0 and a noise part eps, and mixes the two again with a little less of
the noise:

    x = alpha x0 + sigma eps        becomes        x' = alpha' x0 + sigma' eps.

Far out the arrows all point to the middle; as t falls they turn, arm by arm, to the spiral, and the cloud folds onto
it. No point of the training data is looked up: each sample is new.

Whether the cloud has become the spiral is measured twice. Each point's distance to the shape shows whether it lies on
it, and is compared with that of real samples, which are slightly blurred themselves. The sliced Wasserstein distance
shows whether the whole shape is filled evenly: project both clouds on a line, sort, compare, over many lines. It is not
zero for two clouds of real samples either, since they have only a thousand points; that is the unit.

Two things surprised. For most of the time nothing seems to happen: the data are as wide as the noise, so the cloud as a
whole has nowhere to go, and everything is decided below t = 0.3. So the levels are denser there, t = (1 - k / n)^2. And
the network is smooth, so some points get stuck between two arms, most of all in the innermost turn: on average the
samples are two to three times as far from the curve as real ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from scorefield.core.level import Level
from scorefield.data import shapes
from scorefield.lab import style
from scorefield.lab.experiment import Animation, Criterion, Experiment, Settings, Watch
from scorefield.lab.plane import cloud_fit, learn, levels
from scorefield.sample import samplers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (0, 50, 65, 80, 100)  # percent of the walk
FIELD_AT = 65


@dataclass(frozen=True, slots=True, kw_only=True)
class SpiralSettings(Settings):
    """The shape, the points of the drawn cloud, the number of measured clouds, and their sampling."""

    shape: str = "spiral"
    points: Annotated[int, Field(ge=100, le=10_000)] = 1000
    clouds: Annotated[int, Field(ge=1, le=64)] = 8
    steps: Annotated[int, Field(ge=4, le=400)] = 80
    sampler: Literal["ddim", "ddpm", "heun"] = "ddim"
    training: Annotated[int, Field(ge=1, le=20_000)] = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """The data (points, 2), the states (steps + 1, points, 2) of the first cloud, and the arrows of the field."""

    data: Tensor
    x: Tensor
    levels: list[Level]
    grid: Tensor  # the places of the arrows
    push: Tensor  # (steps + 1, places, 2)
    numbers: Mapping[str, float]


def run(settings: SpiralSettings, watch: Watch) -> Folded:
    """Learn the shape, sample clouds from noise, and compare them with fresh samples."""
    shape = shapes.find(settings.shape)
    denoise = learn.field(learn.learned(settings.shape, learn.Training(steps=settings.training), settings.seed, watch))
    generator = torch.Generator().manual_seed(settings.seed)
    start = torch.randn(settings.clouds * settings.points, 2, generator=generator)
    passed = levels.slowing_down(settings.steps)
    walk = samplers.find(settings.sampler)[0].sampler(
        denoise, start, passed, lambda at, to: torch.randn(start.shape, generator=generator)
    )
    x = torch.stack([step.x for step in watch(walk, "folding", settings.steps + 1)])
    clouds = x[-1].view(settings.clouds, settings.points, 2)
    data, _ = shape.draw(10 * settings.points, generator)
    misfit = cloud_fit.misfit(shape, clouds, generator)
    chance = cloud_fit.chance(shape, settings.points, max(8, settings.clouds), generator)
    off, own = (float(cloud_fit.distance(shape, one).mean()) for one in (x[-1], data))
    grid = style.lattice(17)
    return Folded(
        data=data[: settings.points],
        x=x[:, : settings.points],
        levels=passed,
        grid=grid,
        push=torch.stack([style.shortened(denoise(grid, at) - grid) for at in passed]),
        numbers={
            "sliced_wasserstein": misfit,
            "sliced_wasserstein_of_two_data_samples": chance,
            "sliced_wasserstein_over_that_of_data": misfit / chance,
            "mean_distance_to_the_shape": off,
            "mean_distance_of_data": own,
            "mean_distance_beyond_that_of_data": off - own,
            "mean_distance_of_the_noise": float(cloud_fit.distance(shape, start).mean()),
        },
    )


def draw(result: Folded) -> "Figure":
    """Draw the data, the learned field, the cloud at five moments, and the paths of some points."""
    figure, axes = style.figure(2, 4, width=8.0, height=4.5)
    steps = len(result.x) - 1
    style.dots(style.plane(axes[0], "the data"), result.data, style.DATA, size=1.5)
    k = FIELD_AT * steps // 100
    field = style.plane(axes[1], f"the field, t = {levels.share(result.levels[k]):.2f}")
    style.dots(field, result.data, style.DATA, size=1, alpha=0.15)
    style.arrows(field, result.grid, result.push[k], style.UNCONDITIONAL)
    for plot, percent in zip(axes[2:7], SHOWN, strict=True):
        k = percent * steps // 100
        style.plane(plot, f"the cloud, t = {levels.share(result.levels[k]):.2f}")
        style.dots(plot, result.x[k], style.LEARNED, size=1.5)
    ways = style.plane(axes[7], "the ways of 30 points")
    for way in result.x[:, :30].unbind(1):
        ways.plot(*way.T, color=style.LEARNED, linewidth=0.7, alpha=0.7)
    style.dots(ways, result.x[-1, :30], style.DATA, size=9, alpha=1, order=3)
    for one in axes:
        one.tick_params(labelsize=7)
        one.title.set_fontsize(9.5)
    return figure


def animate(result: Folded) -> Animation:
    """The cloud over the field, from t = 1 to 0."""

    def frames() -> Iterator[Image.Image]:
        figure, (axes,) = style.figure(width=5.0, height=5.2)
        style.plane(axes)
        field = style.arrows(axes, result.grid, result.push[0], style.UNCONDITIONAL, alpha=0.7)
        cloud = style.dots(axes, result.x[0], style.LEARNED, size=4, alpha=0.6, order=4)

        def update(k: int) -> None:
            cloud.set_offsets(result.x[k].numpy())
            field.set_UVC(*result.push[k].T.numpy())
            axes.set_title(f"t = {levels.share(result.levels[k]):.2f}")

        last = len(result.x) - 1
        every = max(1, last // 100)
        yield from style.frames(figure, update, [*range(0, last, every), last], dpi=100)

    return Animation(frames(), per_second=12)


spiral = Experiment(
    name="spiral",
    claim="Points of pure noise that follow the learned field become samples of the data.",
    criteria=(
        Criterion("sliced_wasserstein_over_that_of_data", "<=", 1.5),
        # A twentieth of the data's deviation, and of the gap between two arms of the spiral.
        Criterion("mean_distance_beyond_that_of_data", "<=", 0.05),
    ),
    settings=SpiralSettings,
    run=run,
    draw=draw,
    animate=animate,
)
