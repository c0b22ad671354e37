"""DDIM walks without chance, and its clouds are the same.

DDPM adds noise in every step, and needs it: see ddpm. It follows a stochastic differential equation. But the cloud of
all points, unlike each single one, obeys the Fokker-Planck equation, and so does a second motion: an ordinary
differential equation without any noise, whose points are distributed over the plane at every moment exactly like the
random ones. DDIM walks along it. Here are the two steps, and one that looks like DDIM but is not:

    DDPM:              x' = alpha' x0 + kept eps + fresh z,        kept^2 + fresh^2 = sigma'^2,

    DDIM:              x' = alpha' x0 + sigma' eps,

    noise left out:    x' = alpha' x0 + kept eps.

All three use the same x0 and eps of x from the same network, and nothing is trained again. DDIM differs from the last
one in a single number: it does not shrink the noise that it keeps, so a state has as much noise as its level says. Only
this scaling keeps it from collapsing.

The upper rows show the noisy data, and below them the clouds of both walks, at five times. They can be distinguished
only by measuring, and hardly then: sliced Wasserstein distances of each cloud to the noisy data, and to each other, are
those of two samples of the data. Yet single points go different ways. The same start leads DDPM to a new end each time,
as far from that of DDIM as any two samples are. DDIM has one end for one start, nearly the same in 64 steps and in 256.

The lower curves show its use. On a smooth path long steps are enough. With 4 or 8 steps DDIM is nearer to the data;
with 64 and more both are as near as data are to data, and no number of steps helps the walk with the noise left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from scorefield.sample.ancestral import ddim as ode
from scorefield.sample.ancestral import ddpm as sde
from scorefield.sample.walk import Sampler

if TYPE_CHECKING:
    from matplotlib.figure import Figure

START = 0.99  # the first level still contains a little of the data; otherwise the walk without noise collapses at once
STEPS = (4, 8, 16, 32, 64, 128, 256)
TIMES = (0.6, 0.3, 0.15, 0.05, 0.0)  # of the compared clouds, as shares of START
SHOWN = 2  # clouds in a picture
PAIRS = 24  # of data samples, for the distance due to chance
NAMES = ("DDPM", "DDIM", "noise left out")
FOLLOWED = (style.EXACT, style.CONDITIONAL, style.GUIDED)  # three points whose paths the animation shows
COLOURS = (style.RANDOM, style.LEARNED, style.OTHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class DdimSettings(Settings):
    """The shape, and the clouds sampled for every number of steps."""

    shape: str = "spiral"
    points: Annotated[int, Field(ge=50, le=4096)] = 256
    clouds: Annotated[int, Field(ge=1, le=16)] = 8
    training: Annotated[int, Field(ge=1, le=20_000)] = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The clouds (noisy data, DDPM, DDIM; TIMES; points; 2), single paths, and the distances (3, STEPS) to the data."""

    clouds: Tensor
    times: list[float]
    data: Tensor
    one: Tensor  # (5, steps + 1, 2): from one start, the path of DDIM and four of DDPM
    walks: Tensor  # (2, steps + 1, points, 2): DDPM and DDIM from the same starts
    apart: Tensor
    chance: float
    numbers: Mapping[str, float]


def states(sampler: Sampler, denoise: Denoise, x: Tensor, steps: int, source: torch.Generator | None) -> Tensor:
    """The states (steps + 1, N, 2) of a walk from x; without a generator, noise is left out."""

    def noise(at: Level, to: Level) -> Tensor:
        return torch.randn(x.shape, generator=source) if source else torch.zeros_like(x)

    passed = levels.walk_down(steps, start=START)
    return torch.stack([step.x for step in sampler(denoise, x, passed, noise)])


def run(settings: DdimSettings, watch: Watch) -> Compared:
    """Walk from the same starts by three methods in many numbers of steps; compare the clouds and single points."""
    shape = shapes.find(settings.shape)
    denoise = learn.field(learn.learned(settings.shape, learn.Training(steps=settings.training), settings.seed, watch))
    generator = torch.Generator().manual_seed(settings.seed)
    start = torch.randn(settings.clouds * settings.points, 2, generator=generator)
    kinds = ((sde, generator), (ode, None), (sde, None))
    walks = {
        steps: [states(sampler, denoise, start, steps, source) for sampler, source in kinds]
        for steps in watch(STEPS, "walking", len(STEPS))
    }
    in_clouds = (settings.clouds, settings.points, 2)
    apart = [
        [cloud_fit.misfit(shape, walks[steps][kind][-1].view(in_clouds), generator) for steps in STEPS]
        for kind in range(len(kinds))
    ]
    moments = [round((1 - share) * STEPS[-1]) for share in TIMES]
    at = [levels.walk_down(STEPS[-1], start=START)[k] for k in moments]
    pair = [torch.stack([one[k].view(in_clouds) for k in moments]) for one in walks[STEPS[-1]][:2]]
    in_view = min(SHOWN, settings.clouds) * settings.points
    fresh = torch.stack([cloud_fit.noised(shape, in_view, level, generator) for level in at])
    away = torch.tensor([[-1.6, 1.8]])
    one = [states(ode, denoise, away, 64, None), states(sde, denoise, away.expand(4, 2), 64, generator)]
    chance = cloud_fit.chance(shape, settings.points, PAIRS, generator)
    return Compared(
        clouds=torch.stack([fresh, *[clouds.flatten(1, 2)[:, :in_view] for clouds in pair]]),
        times=[levels.share(level) for level in at],
        data=shape.draw(4000, generator)[0],
        one=torch.cat(one, 1).transpose(0, 1),
        walks=torch.stack([walk[:, :in_view] for walk in walks[64][:2]]),
        apart=torch.tensor(apart),
        chance=chance,
        numbers={
            **_quality(torch.tensor(apart) / chance),
            "clouds_on_the_way_over_that_of_data_at_worst": _worst(shape, pair[0], pair[1], at, generator),
            **_ends(walks[64][0][-1], walks[64][1][-1], walks[256][1][-1]),
        },
    )


def _quality(ratio: Tensor) -> dict[str, float]:
    """Numbers for the distances (3, STEPS) to the data, relative to that of two data samples."""
    found = {
        f"{name}_{steps}_steps_over_that_of_data": float(ratio[kind, STEPS.index(steps)])
        for kind, name in enumerate(("ddpm", "ddim"))
        for steps in (8, 64, 256)
    }
    return {
        **found,
        "ddim_over_ddpm_in_8_steps": float(ratio[1, 1] / ratio[0, 1]),
        "noise_left_out_over_that_of_data_at_best": float(ratio[2].min()),
    }


def _worst(shape: shapes.Shape, one: Tensor, other: Tensor, at: list[Level], generator: torch.Generator) -> float:
    """Distances of both walks (times, clouds, points, 2) to the noisy data and each other, relative to chance."""
    found = []
    for k, level in enumerate(at):
        chance = cloud_fit.chance(shape, one.shape[2], PAIRS, generator, level)
        found += [cloud_fit.misfit(shape, clouds, generator, level) / chance for clouds in (one[k], other[k])]
        # Compared with the next cloud, which has other starts; with the same starts it would be nearer than chance.
        found.append(cloud_fit.between(one[k], other[k].roll(1, 0)) / chance)
    return max(found)


def _ends(random: Tensor, smooth: Tensor, finer: Tensor) -> dict[str, float]:
    """Distances between ends with the same start."""
    strangers = float((random - smooth.roll(1, 0)).norm(dim=1).mean())
    return {
        "ends_of_one_start_over_those_of_any_two": float((random - smooth).norm(dim=1).mean()) / strangers,
        "ddim_64_to_256_steps_over_any_two": float((smooth - finer).norm(dim=1).mean()) / strangers,
    }


def draw(result: Compared) -> "Figure":
    """Draw the clouds at five times, the paths from one start, and the distance to the data over the steps."""
    rows = ("noisy data", *NAMES[:2])
    grid = [[f"{row} {k}" for k in range(len(TIMES))] for row in rows]
    figure, axes = style.mosaic([*grid, *[["steps"] * 3 + ["ways"] * 2] * 2], width=8.0, height=8.6)
    for row, clouds, colour in zip(rows, result.clouds, (style.DATA, *COLOURS), strict=False):
        for k, t in enumerate(result.times):
            plot = style.plane(axes[f"{row} {k}"], f"t = {t:.2f}" if row == rows[0] else "")
            style.dots(plot, clouds[k], colour, size=2, alpha=0.75)
            plot.tick_params(labelsize=7, labelbottom=row == rows[-1], labelleft=k == 0)
        axes[f"{row} 0"].set_ylabel(row)
    for name, apart, colour in zip(NAMES, result.apart, COLOURS, strict=True):
        axes["steps"].plot(STEPS, apart, color=colour, marker="o", markersize=4, label=name)
    axes["steps"].axhline(
        result.chance, color=style.DATA, linestyle="--", linewidth=1.2, label="two samples of the data"
    )
    axes["steps"].set(xscale="log", yscale="log", xlabel="steps", title="sliced Wasserstein distance to the data")
    axes["steps"].set_xticks(STEPS, [str(steps) for steps in STEPS])
    axes["steps"].set_xticks([], minor=True)
    style.legend(axes["steps"], "center right")
    ways = style.plane(axes["ways"], "one start, five ways")
    style.dots(ways, result.data, style.DATA, size=1, alpha=0.1)
    looks = [(style.LEARNED, 2.2, 5, "DDIM"), (style.RANDOM, 0.7, 4, "DDPM"), *[(style.RANDOM, 0.7, 4, None)] * 3]
    for way, (colour, linewidth, order, label) in zip(result.one, looks, strict=True):
        ways.plot(*way.T, color=colour, linewidth=linewidth, zorder=order, label=label)
        style.dots(ways, way[-1], colour, size=40, alpha=1, order=order)
    style.dots(ways, result.one[0, 0], style.DATA, size=36, alpha=1, order=4)
    style.legend(ways, "lower right")
    return figure


def animate(result: Compared) -> Animation:
    """Both clouds from the same starts, and the paths of a few points."""

    def frames() -> Iterator[Image.Image]:
        figure, axes = style.figure(1, 2, width=8.0, height=4.3)
        steps = result.walks.shape[1] - 1
        times = [levels.share(at) for at in levels.walk_down(steps, start=START)]
        shown = [
            style.dots(style.plane(one), walk[0], colour, size=4, alpha=0.5)
            for one, walk, colour in zip(axes, result.walks, COLOURS, strict=False)
        ]
        ways = [
            [one.plot([], [], color=colour, marker="o", markevery=[-1], linewidth=1.3)[0] for colour in FOLLOWED]
            for one in axes
        ]

        def update(k: int) -> None:
            for one, name, walk, cloud, lines in zip(axes, NAMES, result.walks, shown, ways, strict=False):
                one.set_title(f"{name}, t = {times[k]:.2f}")
                cloud.set_offsets(walk[k].numpy())
                for i, line in enumerate(lines):
                    line.set_data(*walk[: k + 1, i].T.numpy())

        yield from style.frames(figure, update, range(steps + 1), dpi=100)

    return Animation(frames(), per_second=8)


ddim = Experiment(
    name="ddim",
    claim="Without any chance DDIM gives the clouds of DDPM in fewer steps; DDPM with its noise left out does not.",
    criteria=(
        Criterion("ddpm_256_steps_over_that_of_data", "<=", 1.5),
        Criterion("ddim_64_steps_over_that_of_data", "<=", 1.5),
        Criterion("ddim_over_ddpm_in_8_steps", "<=", 1.0),
        Criterion("noise_left_out_over_that_of_data_at_best", ">=", 5.0),
        Criterion("clouds_on_the_way_over_that_of_data_at_worst", "<=", 1.5),
        Criterion("ends_of_one_start_over_those_of_any_two", ">=", 0.8),
        Criterion("ddim_64_to_256_steps_over_any_two", "<=", 0.2),
    ),
    settings=DdimSettings,
    run=run,
    draw=draw,
    animate=animate,
)
