"""The noise schedule: how a picture turns into noise in a thousand small steps, and which fifteen a walk visits.

A model like DDPM is trained on a thousand noise levels. They are given by betas, the share of variance that each step
replaces by noise, and the state after k steps has a closed form:

    x_k = sqrt(1 - beta_k) x_(k-1) + sqrt(beta_k) z_k,
    alpha_k^2 = product of (1 - beta_i),        sigma_k^2 = 1 - alpha_k^2.

Stable Diffusion writes the same level as x = x0 + sigma eps, with the noise in units of the picture: its sigma is our
sigma / alpha. It runs from 0.0292 at step 0 to 14.6146 at step 999, numbers that every program for it repeats. A walk
does not visit all thousand: with 15 steps it takes every 71st, and the schedules differ in which ones they take.

The experiment checks the closed form the long way: it adds noise to latents of scenes in all thousand small steps of
each classical noise schedule. Then alpha is measured as the part of the state along the picture, sigma as the deviation
of the rest, at 15 levels on the way; both must match the closed form within the error that chance allows. The figure
shows where this program's schedules put 15 steps for the embedded model, the betas and their levels, and a picture
noised to step 10 of 15.

The surprise is how different the ends are. After DDPM's linear betas 0.6 % of the picture is left, after Stable
Diffusion's 6.8 %: its network never saw pure noise in training, though every walk begins with it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from scorefield.core import gauge, grid
from scorefield.core import noise_schedule as core_schedule
from scorefield.core.level import Level, noisy
from scorefield.evals.adherence import renders
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, Settings, Watch
from scorefield.lab.pictures import embedded, panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCHEDULES: Mapping[str, Callable[[], Tensor]] = {
    "linear": core_schedule.linear,
    "scaled_linear": core_schedule.scaled_linear,
    "cosine": core_schedule.cosine,
    "sigmoid": core_schedule.sigmoid,
}
PUBLISHED = (0.0292, 14.6146)  # sigma of Stable Diffusion's first and last rung
CLASSICAL = "scaled_linear"  # Stable Diffusion's
RUNGS = [round(999 * k / 14) for k in range(15)]
STEPS, SHOWN, MARKED = 15, (0, 4, 7, 10, 12, 15), 10  # steps of the walk: drawn, and measured


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings(Settings):
    """The number of scenes whose latents get noise."""

    pictures: Annotated[int, Field(ge=1, le=256)] = 16


class Way(NamedTuple):
    """alpha and sigma at RUNGS of a schedule, tabulated and measured, each (levels, 2), with standard errors."""

    stated: Tensor
    measured: Tensor
    chance: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Drowned:
    """The betas (1000,) and `ways` of each schedule, the levels of each named grid, and a picture along the walk.

    `drawn` (shown, 3, H, W) is noised to the levels SHOWN of `levels`, those of Stable Diffusion's 15 steps.
    """

    betas: Mapping[str, Tensor]
    ways: Mapping[str, "Way"]
    grids: Mapping[str, list[Level]]
    drawn: Tensor
    levels: list[Level]
    numbers: Mapping[str, float]


def run(settings: ScheduleSettings, watch: Watch) -> Drowned:
    """Add noise to latents by every schedule, and to one picture at the steps of a walk."""
    generator = torch.Generator().manual_seed(settings.seed)
    scenes_drawn = renders(list(islice(embedded.held_out(settings.seed), settings.pictures)))
    with torch.no_grad():
        x0 = embedded.codec().encode(embedded.pixels(scenes_drawn)).cpu().double()
    betas = {name: make() for name, make in SCHEDULES.items()}
    ways = {name: drown(x0, betas[name], generator) for name in watch(SCHEDULES, "drowning", len(SCHEDULES))}
    ladder = core_schedule.discrete(core_schedule.lams(core_schedule.cumulative(betas[CLASSICAL])))
    levels = grid.levels(gauge.vp, grid.linspace(ladder)(STEPS))
    eps = torch.randn(x0[:1].shape, generator=generator, dtype=x0.dtype)
    marked = measured(noisy(x0[:1], eps, levels[MARKED]), x0[:1])
    states = torch.cat([noisy(x0[:1], eps, levels[k]) for k in SHOWN]).float()
    ends = math.exp(-ladder.cleanest), math.exp(-ladder.noisiest)
    off = [way.measured.sub(way.stated).div(way.chance).abs().amax(0) for way in ways.values()]
    numbers = {
        "largest_alpha_error_in_standard_errors": max(float(one[0]) for one in off),
        "largest_sigma_error_in_standard_errors": max(float(one[1]) for one in off),
        "error_of_the_published_ends": max(abs(a / b - 1) for a, b in zip(ends, PUBLISHED, strict=True)),
        **{f"alpha_left_by_{name}": float(way.stated[-1, 0]) for name, way in ways.items()},
        f"sigma_at_step_{MARKED}_of_{STEPS}": math.exp(-float(levels[MARKED].lam)),
        f"sigma_measured_at_step_{MARKED}_of_{STEPS}": float(marked[1] / marked[0]),
    }
    return Drowned(
        betas=betas, ways=ways, grids={name: embedded.levels(STEPS, name) for name in grid.SCHEDULES},
        drawn=embedded.bytes_of(embedded.images(states.to(embedded.pipeline().system.device))),
        levels=levels, numbers=numbers,
    )  # fmt: skip


def drown(x0: Tensor, betas: Tensor, generator: torch.Generator) -> Way:
    """Walk all small steps from `x0` (B, ...), and measure the rest of it and the noise at RUNGS."""
    abar = core_schedule.cumulative(betas)
    x, seen = x0, []
    for k, beta in enumerate(betas.tolist()):
        z = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * z
        if k in RUNGS:
            seen.append(measured(x, x0))
    stated = torch.stack([abar[RUNGS].sqrt(), (1 - abar[RUNGS]).sqrt()], 1)
    chance = stated[:, 1:] * torch.tensor([1 / float(x0.norm()), 1 / math.sqrt(2 * x0.numel())], dtype=x0.dtype)
    return Way(stated, torch.stack(seen), chance)


def measured(x: Tensor, x0: Tensor) -> Tensor:
    """alpha and sigma (2,) of a state: its component along x0, and the deviation of the rest."""
    alpha = (x * x0).sum() / x0.square().sum()
    return torch.stack([alpha, (x - alpha * x0).square().mean().sqrt()])


def draw(result: Drowned) -> "Figure":
    """Draw a picture along the walk, the sigmas of 15 steps on every grid, and the classical schedules."""
    figure, axes = style.figure(3, 2, width=8.0, height=9.0)
    panel.ratios(axes[0], heights=(1.55, 3.0, 2.4))
    across = panel.across(axes[0], axes[1])
    ratio = [math.exp(-float(at.lam)) for at in result.levels]
    names = [f"step {k}\nsigma {ratio[k]:.2f}" for k in SHOWN]
    panel.show(across, result.drawn[None], names)
    _sigmas(axes[2], ratio)
    _grids(axes[3], result.grids)
    betas, alphas = axes[4:]
    for (name, way), colour in zip(result.ways.items(), style.SERIES, strict=False):
        betas.plot(range(1000), result.betas[name], color=colour, label=name.replace("_", " "))
        abar = core_schedule.cumulative(result.betas[name])
        alphas.plot(range(1000), abar.sqrt(), color=colour)
        alphas.plot(RUNGS, way.measured[:, 0], "o", color=colour, markersize=4)
    betas.set(yscale="log", xlabel="step of training", ylabel="beta")
    alphas.set(xlabel="step of training", ylabel="alpha, what is left", ylim=(0, 1.02))
    alphas.plot([], [], "o", color=style.DATA, markersize=4, label="measured in latents")
    style.legend(betas, "lower right")
    style.legend(alphas, "upper right")
    return figure


def _sigmas(axes: "Axes", ratio: list[float]) -> None:
    axes.plot(range(len(ratio)), ratio, "o-", color=style.LEARNED, markersize=4)
    axes.plot([MARKED], [ratio[MARKED]], "o", color=style.EXACT, markersize=9, label=f"step {MARKED} of {STEPS}")
    axes.set_xticks(range(0, len(ratio), 5))
    axes.set(xlabel="step", ylabel="sigma of x0 + sigma eps", title="Stable Diffusion's 15 steps")
    style.legend(axes, "upper right")


def _grids(axes: "Axes", grids: Mapping[str, list[Level]]) -> None:
    for row, levels in enumerate(grids.values()):
        shares = [float(at.sigma) / float(at.alpha + at.sigma) for at in levels]
        axes.plot(shares, [row] * len(shares), "o-", color=style.LEARNED, markersize=3.5, linewidth=0.5)
    axes.set_yticks(range(len(grids)), [name.replace("_", " ") for name in grids])
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.invert_yaxis()
    axes.set(
        xlim=(1.03, -0.03), xlabel="share of noise, sigma / (alpha + sigma)", title="15 steps of this model, by grid"
    )


schedule = Experiment(
    name="schedule",
    claim="A thousand small noisings of a picture end where the table of the schedule says, at every level.",
    criteria=(
        # The largest of 60 deviations; 4 is passed by chance less than once in two hundred runs.
        Criterion("largest_alpha_error_in_standard_errors", "<=", 4.0),
        Criterion("largest_sigma_error_in_standard_errors", "<=", 4.0),
        Criterion("error_of_the_published_ends", "<=", 0.002),  # they are published with at least three digits
    ),
    settings=ScheduleSettings,
    run=run,
    draw=draw,
)
