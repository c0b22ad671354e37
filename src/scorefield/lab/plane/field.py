"""A trained network is a field of arrows that changes with time.

Give the network of the plane a noisy point and the time, and it answers with another point: where the clean one
probably was. Draw an arrow from the one to the other, at many points, and the network becomes visible. It is a field
that points to likelier, less noisy data.

What should it answer? Many clean points could have become the noisy point x, and the answer with the least squared
error is their mean, each weighted by the likelihood that it became x. For a Gaussian mixture this mean has a formula,
and the spiral is one: 1,500 small Gaussians along a curve, the nodes c_i,

    E[x0 | x] = sum of w_i c_i, and a little of x itself,
    w_i proportional to exp(-|x - alpha c_i|^2 / (2 sigma^2 + 2 alpha^2 spread^2)).

So the best possible network is known, and the trained one can be compared with it. The network never gets that formula.
It only sees noisy points of the spiral, one at a time, and has to undo the noise. The error is the root mean square of
the difference, over noisy points as they occur at time t = sigma / (alpha + sigma), which is 0 for clean data and 1 for
pure noise. The data have a deviation of 1 in each coordinate, so an error of 0.1 is a tenth of that.

Far from the data, with much noise, every arrow points to the centre: coarse. Near it, with little noise, each points to
the nearest piece of the spiral: fine. The same place needs different arrows at different times, so the same network
trained without the time input has to compromise. That is the grey curve. Data and noise are equally wide here, so the
place of a point says little about the noise in it. Surprisingly, the compromise is worst not close to the data but far
out, where the right answer is the simplest of all: the centre. There the whole point is noise, and the network, which
does not know it, still sees a little of the spiral.

The arrows are drawn where clean data would be, without the shrinking of the noisy state (the gauge in which alpha is
1), so that the spiral does not move. Long arrows are shortened. Where the exact arrow differs from the learned one, it
shows from under it. At small t no training point ever came to the empty places between the arms. The arrows there are
drawn faintly: the network makes them up, and the error does not count them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level, noisy
from scorefield.data import shapes
from scorefield.lab import style
from scorefield.lab.experiment import Animation, Criterion, Experiment, Settings, Watch
from scorefield.lab.plane import learn, levels
from scorefield.lab.plane.exact import posterior_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.quiver import Quiver

TIMES = torch.linspace(0.05, 1, 20).tolist()  # where the error is measured
FRAME_TIMES = torch.linspace(0.95, 0.02, 94).tolist()
SHOWN = (0.9, 0.6, 0.4, 0.2, 0.05)
BAR = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSettings(Settings):
    """The shape, the training steps of its field, and the number of states for the error at each time."""

    shape: str = "spiral"
    steps: Annotated[int, Field(ge=10, le=100_000)] = learn.Training().steps
    batch: Annotated[int, Field(ge=8, le=65_536)] = learn.Training().batch
    states: Annotated[int, Field(ge=100, le=100_000)] = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The arrows (times, points, 2) of both fields at FRAME_TIMES, and the errors (times,) at TIMES."""

    nodes: Tensor
    points: Tensor
    learned: Tensor
    exact: Tensor
    error: Tensor
    timeless: Tensor
    numbers: Mapping[str, float]


def errors(shape: shapes.Shape, denoise: Denoise, states: int, seed: int) -> Tensor:
    """Root mean square distance per coordinate to the exact posterior mean, on noisy points at each of TIMES."""
    exact = posterior_mean(shape)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for at in map(levels.level, TIMES):
        x0, _ = shape.draw(states, generator)
        x = noisy(x0, torch.randn(x0.shape, generator=generator), at)
        found.append((denoise(x, at) - exact(x, at)).square().mean().sqrt())
    return torch.stack(found)


def arrows(denoise: Denoise, points: Tensor, t: float) -> Tensor:
    """The arrows from `points` (N, 2) to the predicted clean points, at the level of t with alpha = 1."""
    return denoise(points, Level(1.0, t / (1 - t))) - points


def run(settings: FieldSettings, watch: Watch) -> Trained:
    """Train with and without the time input, and compare both with the exact field."""
    shape = shapes.find(settings.shape)
    timed = learn.Training(steps=settings.steps, batch=settings.batch)
    blind = learn.Training(steps=settings.steps, batch=settings.batch, timed=False)
    field = learn.field(learn.learned(settings.shape, timed, settings.seed, watch))
    timeless = learn.field(learn.learned(settings.shape, blind, settings.seed, watch))
    error = errors(shape, field, settings.states, settings.seed)
    error_timeless = errors(shape, timeless, settings.states, settings.seed)
    points = style.lattice()
    exact = posterior_mean(shape)
    return Trained(
        nodes=shape.nodes,
        points=points,
        learned=torch.stack([arrows(field, points, t) for t in FRAME_TIMES]),
        exact=torch.stack([arrows(exact, points, t) for t in FRAME_TIMES]),
        error=error,
        timeless=error_timeless,
        numbers={
            "mean_error": float(error.mean()),
            "largest_error": float(error.max()),
            "mean_error_without_time": float(error_timeless.mean()),
            "times_worse_without_time": float(error_timeless.mean() / error.mean()),
        },
    )


def _field(axes: "Axes", result: Trained, t: float) -> "tuple[Quiver, Quiver]":
    """Draw the exact field, and the learned one over it."""
    style.dots(axes, result.nodes, style.DATA, size=2.5, alpha=0.35)
    exact = style.arrows(axes, result.points, style.shortened(result.exact[0]), style.EXACT)
    learned = style.arrows(axes, result.points, style.shortened(result.learned[0]), style.LEARNED)
    _show(exact, learned, result, min(range(len(FRAME_TIMES)), key=lambda k: abs(FRAME_TIMES[k] - t)))
    return exact, learned


def _show(exact: "Quiver", learned: "Quiver", result: Trained, k: int) -> None:
    """Draw the fields at time number k, fainter where noisy points are rarer, up to three deviations from the data."""
    sigma = FRAME_TIMES[k] / (1 - FRAME_TIMES[k])
    away = torch.cdist(result.points.double(), result.nodes).min(1).values
    visited = 0.2 + 0.8 * (-(away / (3 * sigma)).square() / 2).exp()
    for quiver, push in ((exact, result.exact[k]), (learned, result.learned[k])):
        quiver.set_UVC(*style.shortened(push).T.numpy())
        quiver.set_alpha(visited.tolist())


def draw(result: Trained) -> "Figure":
    """Draw the field at five times, and the error over time."""
    figure, axes = style.figure(2, 3, width=8.0, height=5.6)
    for plot, t in zip(axes, SHOWN, strict=False):
        style.plane(plot, f"t = {t:.2f}")
        exact, learned = _field(plot, result, t)
    labels = ["learned", "exact, under it"]
    legend = figure.legend([learned, exact], labels, loc="outside upper center", ncols=2, frameon=False)
    for handle in legend.get_patches():
        handle.set_alpha(1)  # an arrow's handle may be faint
    curve = axes[-1]
    curve.plot(TIMES, result.timeless, color=style.RANDOM, label="without the time")
    curve.plot(TIMES, result.error, color=style.LEARNED, label="with the time")
    curve.axhline(BAR, color=style.DATA, linewidth=0.9, linestyle="--", label=f"the bar, {BAR:.2f}")
    curve.set(yscale="log", xlabel="t", title="error of the field", xlim=(0, 1), ylim=(0.0008, 1.5))
    style.legend(curve, "lower left")
    return figure


def animate(result: Trained) -> Animation:
    """From noise to data: the arrows turn from the centre to the curve."""

    def frames() -> Iterator[Image.Image]:
        figure, (axes,) = style.figure(width=5.0, height=5.2)
        style.plane(axes)
        exact, learned = _field(axes, result, FRAME_TIMES[0])

        def update(k: int) -> None:
            _show(exact, learned, result, k)
            axes.set_title(f"t = {FRAME_TIMES[k]:.2f}")

        yield from style.frames(figure, update, range(len(FRAME_TIMES)))

    return Animation(frames(), per_second=12)


field = Experiment(
    name="field",
    claim="In seconds a small network learns the exact mean of all clean points that a noisy one may have been,"
    " and it needs to know the time.",
    criteria=(
        Criterion("mean_error", "<=", BAR),  # of the data's standard deviation, over t in [0.05, 1]
        Criterion("times_worse_without_time", ">=", 2.0),
    ),
    settings=FieldSettings,
    run=run,
    draw=draw,
    animate=animate,
)
