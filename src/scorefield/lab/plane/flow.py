"""Flow matching: straight lines for the pairs, curves for the field.

Flow matching, which trains most of today's large models for pictures and video, is explained differently from
diffusion. Take a point x0 of the data and a point eps of noise, draw the straight line between them, and teach a
network the direction of that line at each place on it,

    x = (1 - t) x0 + t eps,        dx/dt = eps - x0.

A sampler then walks against it from t = 1 to 0. No noise schedule, no betas. Is it something other than diffusion?

A state of diffusion is also x = alpha x0 + sigma eps; only its scale differs. Call the scale a gauge: RF, rectified
flow, has alpha + sigma = 1, and VP, variance preserving as in DDPM, has alpha^2 + sigma^2 = 1. Divide a VP state by the
sum of its alpha and sigma, and it is an RF state. In every gauge the moving point obeys

    dx = x0 d(alpha) + eps d(sigma),

and Euler's step of that is x' = alpha' x0 + sigma' eps: the step of DDIM. So DDIM is flow matching in the VP gauge. The
experiment lets one network walk in both gauges, and also in VE (alpha = 1), and compares the paths at every step. It
also computes the loss of the same pairs in both: the network is trained on the same numbers either way.

What is left of the straight lines? Those between the pairs are straight in RF and bent in VP, as the upper row shows.
But at a place where many lines cross, the network can only learn their mean direction, and the paths along the mean, in
the lower row, are straight in no gauge. The number is the length of all paths over the distance between their ends: 1
if they are straight.

The surprise is that the paths of this field are longer in RF than in VP. The data are as wide as the noise, and so is a
VP state at every moment: the cloud as a whole need not move. In RF it shrinks to 0.7 of its width half way and must
grow again. How straight a path looks depends on the gauge. The error of the steps does not: it is the same in all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Denoise, Preconditioned
from scorefield.core.gauge import Gauge
from scorefield.core.level import Level, noisy
from scorefield.data import shapes
from scorefield.lab import style
from scorefield.lab.experiment import Animation, Criterion, Experiment, Settings, Watch
from scorefield.lab.plane import cloud_fit, learn, levels
from scorefield.sample.one_step import euler
from scorefield.train.objective import objective

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

START = 0.99  # VE has no level of pure noise
DRAWN = 60  # paths in a picture


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings(Settings):
    """The shape, and the number of paths."""

    shape: str = "spiral"
    points: Annotated[int, Field(ge=100, le=10_000)] = 1000
    steps: Annotated[int, Field(ge=4, le=1000)] = 96
    training: Annotated[int, Field(ge=1, le=20_000)] = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The paths (steps + 1, points, 2) of the pairs and of the field, each in RF and VP."""

    data: Tensor
    pairs: tuple[Tensor, Tensor]
    field: tuple[Tensor, Tensor]
    levels: list[Level]
    numbers: Mapping[str, float]


def bend(ways: Tensor) -> float:
    """The length of paths (steps + 1, N, 2) over the distance of their ends: 1 if all are straight."""
    x = ways.double()
    return float(x.diff(dim=0).norm(dim=2).sum() / (x[-1] - x[0]).norm(dim=1).sum())


def moved(way: Tensor, come: Sequence[Level], go: Sequence[Level]) -> Tensor:
    """The states (steps + 1, N, 2) of a path in another gauge, at levels of the same lam with some noise."""
    scale = [there.sigma / here.sigma if here.sigma else 1.0 for here, there in zip(come, go, strict=True)]
    return way * torch.tensor(scale)[:, None, None]


def walked(denoise: Denoise, start: Tensor, passed: Sequence[Level]) -> Tensor:
    """The states (steps + 1, N, 2) of Euler's method from `start`, a state at the first level."""
    return torch.stack([step.x for step in euler(denoise, start, passed, lambda at, to: torch.zeros_like(start))])


def run(settings: FlowSettings, watch: Watch) -> Ways:
    """Walk in three gauges with one network, and measure the straightness of the paths."""
    shape = shapes.find(settings.shape)
    denoiser = learn.learned(settings.shape, learn.Training(steps=settings.training), settings.seed, watch)
    denoise = learn.field(denoiser)
    generator = torch.Generator().manual_seed(settings.seed)
    eps = torch.randn(settings.points, 2, generator=generator)
    x0, _ = shape.draw(settings.points, generator)
    vp = levels.slowing_down(settings.steps, start=START)
    by_gauge = {name: [to(at.lam) for at in vp] for name, to in (("rf", gauge.rf), ("vp", gauge.vp), ("ve", gauge.ve))}
    ways = {
        name: walked(denoise, float(passed[0].sigma) * eps, passed)
        for name, passed in watch(by_gauge.items(), "walking", len(by_gauge))
    }
    pairs = [torch.stack([noisy(x0, eps, at) for at in by_gauge[name]]) for name in ("rf", "vp")]
    seen = [moved(ways[name], by_gauge[name], by_gauge["rf"]) for name in ("vp", "ve")]
    chance = cloud_fit.chance(shape, settings.points, 16, generator)
    return Ways(
        data=x0,
        pairs=(pairs[0], pairs[1]),
        field=(ways["rf"], ways["vp"]),
        levels=vp,
        numbers={
            "largest_difference_of_gauges": max(float((one - ways["rf"]).abs().max()) for one in seen),
            "largest_difference_of_losses": losses_apart(denoiser, x0, eps, generator),
            "pairs_bend_in_rf": bend(pairs[0]),
            "pairs_bend_in_vp": bend(pairs[1]),
            "field_bends_in_rf": bend(ways["rf"]),
            "field_bends_in_vp": bend(ways["vp"]),
            "sliced_wasserstein_over_that_of_data": cloud_fit.misfit(shape, ways["rf"][-1:], generator) / chance,
        },
    )


def losses_apart(denoiser: Preconditioned, x0: Tensor, eps: Tensor, generator: torch.Generator) -> float:
    """The largest difference between the training losses of the same pairs in RF and in VP, over their mean."""
    lam = -torch.logit(0.01 + 0.98 * torch.rand(len(x0), generator=generator))
    gauges: tuple[Gauge, Gauge] = (gauge.rf, gauge.vp)
    rf, vp = (objective(denoiser, x0, Cond(), one(lam), eps) for one in gauges)
    return float((rf - vp).abs().max() / rf.mean())


def _panel(axes: "Axes", title: str, ways: Tensor, colour: str, data: Tensor) -> None:
    style.dots(style.plane(axes, title), data, style.DATA, size=1, alpha=0.12)
    for way in ways[:, :DRAWN].unbind(1):
        axes.plot(*way.T, color=colour, linewidth=0.8, alpha=0.8)
    style.dots(axes, ways[-1, :DRAWN], style.DATA, size=7, alpha=1, order=4)


def draw(result: Ways) -> "Figure":
    """Draw the paths of the pairs and of the field, in both gauges."""
    figure, axes = style.figure(2, 2, width=8.0, height=8.4)
    rows = (("pairs", result.pairs, style.RANDOM), ("the field", result.field, style.LEARNED))
    panels = iter(axes)
    for name, ways, colour in rows:
        for where, way in zip(("RF", "VP"), ways, strict=True):
            _panel(next(panels), f"{name} in {where}: {bend(way):.2f} x a straight line", way, colour, result.data)
    return figure


def animate(result: Ways) -> Animation:
    """The walk of the same cloud in both gauges."""

    def frames() -> Iterator[Image.Image]:
        figure, axes = style.figure(1, 2, width=8.0, height=4.3)
        clouds, trails = [], []
        for one, way in zip(axes, result.field, strict=True):
            style.dots(style.plane(one), result.data, style.DATA, size=1, alpha=0.1)
            clouds.append(style.dots(one, way[0], style.LEARNED, size=4, alpha=0.6, order=4))
            trails.append(one.plot([], [], color=style.DATA, linewidth=0.8, alpha=0.8)[0])

        def update(k: int) -> None:
            for one, name, way, cloud, trail in zip(axes, ("RF", "VP"), result.field, clouds, trails, strict=True):
                one.set_title(f"{name}, t = {levels.share(result.levels[k]):.2f}")
                cloud.set_offsets(way[k].numpy())
                seen = way[: k + 1, :DRAWN]
                gaps = torch.full_like(seen[:1], torch.nan)
                trail.set_data(*torch.cat([seen, gaps]).transpose(0, 1).reshape(-1, 2).T.numpy())

        last = len(result.levels) - 1
        yield from style.frames(figure, update, [*range(0, last, max(1, last // 100)), last], dpi=100)

    return Animation(frames(), per_second=12)


flow = Experiment(
    name="flow",
    claim="Flow matching is DDIM in another gauge; its lines are straight between pairs, and bent along the field.",
    criteria=(
        # Rounding in float32, accumulated over all steps; the width is 1.
        Criterion("largest_difference_of_gauges", "<=", 1e-3),
        Criterion("largest_difference_of_losses", "<=", 1e-4),
        Criterion("pairs_bend_in_rf", "<=", 1.0001),
        # Between vectors of equal length at a right angle it is a quarter of a circle: pi / 2 / sqrt(2) = 1.11.
        Criterion("pairs_bend_in_vp", ">=", 1.05),
        Criterion("field_bends_in_rf", ">=", 1.02),
    ),
    settings=FlowSettings,
    run=run,
    draw=draw,
    animate=animate,
)
