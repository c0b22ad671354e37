"""DDPM walks back at random, and it has to.

A step of DDPM has two halves. The network predicts where the point should go: the learned step. Then chance adds a
little fresh noise: the random step. From x at a level (alpha, sigma) to the next, slightly cleaner one (alpha',
sigma'),

    x' = alpha' x0 + kept eps + fresh z,        z ~ N(0, 1),        kept^2 + fresh^2 = sigma'^2,

where x0 and eps are the network's predictions from x, and fresh is chosen so that x' has the noise of its level. Follow
one point from (-1.6, 1.8) in 64 steps, with the learned steps in blue and the random ones in grey. It staggers about,
and in the end it lies on the spiral.

Why add noise when the aim is to remove it? Leave it out and see. The same network, the same learned steps, and 0 in
place of z:

    x' = alpha' x0 + kept eps.

It looks like the safer way. But x0 is the mean of all clean points that could have become x. As long as the noise is
strong, that is nearly the mean of all the data, whatever the point, and what remains of the point's own noise shrinks
in every step. So the whole cloud moves to the centre, where no data lie. By the time the field shows the arms of the
spiral all points are in one place, and together they go to the nearest piece of it, an inner edge. Every sample is the
same. In the same way a tree in the desert becomes a sad blur.

Such a state is also wrong for the network: it holds far less noise than its level says, and the network never saw such
states in training. It does not even quite reach the spiral, but stops some way inside it.

The clouds have 256 points, so few that even two samples of the data are some distance apart in sliced Wasserstein
distance. That distance, averaged over several pairs, is the unit, and the cloud's is averaged over several clouds.

The walk starts at t = 0.99. At exactly t = 1 the state holds nothing of the data, and the first step forgets it.
Without noise all points would then coincide after a single step: the same end, with nothing to see on the way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.data import shapes
from scorefield.lab import style
from scorefield.lab.experiment import Animation, Criterion, Experiment, Settings, Watch
from scorefield.lab.plane import cloud_fit, learn, levels
from scorefield.sample.ancestral import ddpm as sampler

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

START = 0.99
SHOWN = (10, 50, 85, 100)  # percent of the walk
HALF = 0.5  # the t at which the cloud without noise is at the centre
Place = Annotated[float, Field(ge=-4, le=4)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DdpmSettings(Settings):
    """The shape, the start of the one point, and the clouds: one is drawn, all are measured."""

    shape: str = "spiral"
    steps: Annotated[int, Field(ge=4, le=1000)] = 64
    points: Annotated[int, Field(ge=16, le=4096)] = 256
    clouds: Annotated[int, Field(ge=1, le=64)] = 16
    x: Place = -1.6
    y: Place = 1.8
    training: Annotated[int, Field(ge=1, le=20_000)] = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """The path of one point, and the states (steps + 1, points, 2) of a cloud with and without the noise."""

    data: Tensor
    way: Tensor  # (steps + 1, 2): after each random step
    means: Tensor  # (steps, 2): after each learned step
    noisy: Tensor
    bare: Tensor
    levels: list[Level]
    width: Tensor  # (2, steps + 1): widths of the clouds with and without the noise
    numbers: Mapping[str, float]


def states(denoise: Denoise, x: Tensor, passed: Sequence[Level], generator: torch.Generator | None) -> Tensor:
    """The states (steps + 1, N, 2) of DDPM from x; without a generator, noise is left out."""

    def noise(at: Level, to: Level) -> Tensor:
        return torch.randn(x.shape, generator=generator) if generator else torch.zeros_like(x)

    return torch.stack([step.x for step in sampler(denoise, x, passed, noise)])


def halves(denoise: Denoise, x: Tensor, passed: Sequence[Level], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The paths (steps + 1, N, 2) of DDPM from x, and the places (steps, N, 2) after each learned step."""
    way = states(denoise, x, passed, generator)
    bare = [states(denoise, x, pair, None)[1] for x, pair in zip(way[:-1], pairwise(passed), strict=True)]
    return way, torch.stack(bare)


def run(settings: DdpmSettings, watch: Watch) -> Walked:
    """Walk one point and many, with and without the noise, and compare their ends with fresh data."""
    shape = shapes.find(settings.shape)
    denoise = learn.field(learn.learned(settings.shape, learn.Training(steps=settings.training), settings.seed, watch))
    generator = torch.Generator().manual_seed(settings.seed)
    passed = levels.walk_down(settings.steps, start=START)
    way, means = halves(denoise, torch.tensor([[settings.x, settings.y]]), passed, generator)
    start = torch.randn(settings.clouds * settings.points, 2, generator=generator)
    noisy, bare = (states(denoise, start, passed, source) for source in (generator, None))
    data, _ = shape.draw(4000, generator)
    return Walked(
        data=data,
        way=way[:, 0],
        means=means[:, 0],
        noisy=noisy[:, : settings.points],
        bare=bare[:, : settings.points],
        levels=passed,
        width=torch.tensor([[cloud_fit.spread(x) for x in cloud] for cloud in (noisy, bare)]),
        numbers=_numbers(settings, shape, noisy, bare, data, way[-1], generator),
    )


def _numbers(
    settings: DdpmSettings,
    shape: shapes.Shape,
    noisy: Tensor,
    bare: Tensor,
    data: Tensor,
    end: Tensor,
    generator: torch.Generator,
) -> dict[str, float]:
    chance = cloud_fit.chance(shape, settings.points, 2 * settings.clouds, generator)
    apart = [cloud_fit.misfit(shape, x[-1].view(settings.clouds, settings.points, 2), generator) for x in (noisy, bare)]
    width = [cloud_fit.spread(x[-1]) for x in (noisy, bare)]
    half = round(settings.steps * (START - HALF) / START)
    return {
        "sliced_wasserstein_of_two_data_samples": chance,
        "with_noise_sliced_wasserstein": apart[0],
        "with_noise_over_that_of_data": apart[0] / chance,
        "without_noise_over_that_of_data": apart[1] / chance,
        "with_noise_spread": width[0],
        "without_noise_spread": width[1],
        "spread_collapsed_by": width[0] / max(width[1], 1e-6),
        "without_noise_distance_from_the_centre_half_way": float(bare[half].norm(dim=1).mean()),
        "share_of_data_outside_of_where_it_ends": float(
            (data.norm(dim=1) > bare[-1].norm(dim=1).mean()).double().mean()
        ),
        "with_noise_distance_to_the_shape": float(cloud_fit.distance(shape, noisy[-1]).mean()),
        "without_noise_distance_to_the_shape": float(cloud_fit.distance(shape, bare[-1]).mean()),
        "data_distance_to_the_shape": float(cloud_fit.distance(shape, data).mean()),
        "one_point_distance_to_the_shape": float(cloud_fit.distance(shape, end).mean()),
    }


def _pieces(starts: Tensor, ends: Tensor) -> Tensor:
    """Line segments from starts to ends (N, 2 each) as one line (3 N, 2) with gaps."""
    return torch.stack([starts, ends, torch.full_like(ends, torch.nan)], 1).reshape(-1, 2)


def _one(axes: "Axes", result: Walked, until: int, legend: bool) -> None:
    """Draw the path of the one point in the first `until` steps."""
    style.dots(axes, result.data, style.DATA, size=1, alpha=0.1)
    way, means = result.way[: until + 1], result.means[:until]
    axes.plot(*_pieces(way[:-1], means).T, color=style.LEARNED, linewidth=1.3, label="learned step", zorder=3)
    axes.plot(*_pieces(means, way[1:]).T, color=style.RANDOM, linewidth=1.0, label="random step")
    style.dots(axes, way[0], style.DATA, size=36, alpha=1, order=4)
    style.dots(axes, way[-1], style.EXACT, size=36, alpha=1, order=4)
    if legend:
        axes.annotate(
            "start", (float(way[0, 0]), float(way[0, 1])), (-4, 6), textcoords="offset points", ha="right", fontsize=9
        )
        style.legend(axes, "lower right")


def draw(result: Walked) -> "Figure":
    """Draw the path of the one point, the widths of the clouds, and both clouds at the moments SHOWN."""
    rows = [[f"{name} {percent}" for percent in SHOWN] for name in ("with", "without")]
    top = ["one", "one", "width", "width"]
    figure, axes = style.mosaic([top, top, *rows], width=8.0, height=8.6)
    steps = len(result.means)
    one = style.plane(axes["one"], f"one point, {steps} steps")
    _one(one, result, steps, legend=True)
    t = [levels.share(at) for at in result.levels]
    axes["width"].plot(t, result.width[0], color=style.LEARNED, label="with the noise")
    axes["width"].plot(t, result.width[1], color=style.OTHER, label="without")
    axes["width"].set(
        xlabel="t, the share of noise", xlim=(1, 0), yscale="log", title="how wide the cloud is", box_aspect=1
    )
    style.legend(axes["width"], "lower left")
    for name, cloud, colour in (("with", result.noisy, style.LEARNED), ("without", result.bare, style.OTHER)):
        for percent in SHOWN:
            k = percent * steps // 100
            plot = style.plane(axes[f"{name} {percent}"], f"{name}, t = {t[k]:.2f}")
            style.dots(plot, result.data, style.DATA, size=1, alpha=0.06)
            style.dots(plot, cloud[k], colour, size=5, alpha=0.7)
            plot.title.set_fontsize(9.5)
            plot.tick_params(labelsize=7)
    return figure


def animate(result: Walked) -> Animation:
    """The one point, the cloud with the noise, and the cloud without it."""

    def frames() -> Iterator[Image.Image]:
        figure, axes = style.figure(1, 3, width=9.6, height=3.6)
        names = ("one point", "with the noise", "without it")
        for one, name in zip(axes, names, strict=True):
            style.dots(style.plane(one, name), result.data, style.DATA, size=1, alpha=0.08)
        last = len(result.means)
        learned, chance = (
            axes[0].plot([], [], color=colour, linewidth=1)[0] for colour in (style.LEARNED, style.RANDOM)
        )
        points = [
            style.dots(one, cloud[0], colour, size=size, alpha=0.8, order=4)
            for one, cloud, colour, size in zip(
                axes,
                (result.way[:1, None], result.noisy, result.bare),
                (style.EXACT, style.LEARNED, style.OTHER),
                (36, 5, 5),
                strict=True,
            )
        ]

        def update(k: int) -> None:
            learned.set_data(*_pieces(result.way[:k], result.means[:k]).T.numpy())
            chance.set_data(*_pieces(result.means[:k], result.way[1 : k + 1]).T.numpy())
            for dots, x in zip(points, (result.way[k], result.noisy[k], result.bare[k]), strict=True):
                dots.set_offsets(x.reshape(-1, 2).numpy())
            axes[1].set_title(f"{names[1]}, t = {levels.share(result.levels[k]):.2f}")

        every = max(1, last // 100)
        yield from style.frames(figure, update, [*range(0, last, every), last], dpi=100)

    return Animation(frames(), per_second=8)


ddpm = Experiment(
    name="ddpm",
    claim="DDPM needs the noise that it adds: with it the cloud becomes the data, without it all points become one.",
    criteria=(
        Criterion("with_noise_over_that_of_data", "<=", 1.5),
        Criterion("spread_collapsed_by", ">=", 10.0),
        # First to the centre: a tenth of the way out to the data, which are 1.4 from it ...
        Criterion("without_noise_distance_from_the_centre_half_way", "<=", 0.14),
        # ... then to an inner edge: most of the data lie farther out.
        Criterion("share_of_data_outside_of_where_it_ends", ">=", 0.75),
    ),
    settings=DdpmSettings,
    run=run,
    draw=draw,
    animate=animate,
)
