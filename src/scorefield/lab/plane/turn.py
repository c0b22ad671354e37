"""The moment at which the field turns from the centre to the spiral.

With much noise every arrow of the field points to the centre of the data. With little noise each points to the nearest
piece of the spiral. In between the field turns, and it turns quickly: in the animation nothing happens for a long time,
and then everything at once, a little like freezing water.

To give that moment a number, take points all over the disc that the spiral fills, and compare the direction of each
arrow with two others: the direction to the centre and the direction to the nearest point of the spiral,

    D(x) - x   with   centre - x   and   nearest - x,        D(x) = E[x0 | x].

An arrow has turned if its angle to the nearest point is the smaller of the two. The turn is the time at which half of
the arrows have turned. Undecidable points are left out: those on the spiral, and those from which the spiral and the
centre lie in the same direction, within 30 degrees.

The reason for the turn: D(x) is a mean over the whole spiral, weighted by a Gaussian of width sigma / alpha about x.
While it is wider than the gaps between the arms, the arms pull from all sides, and the mean is the centre. As soon as
it is narrower than about two fifths of a gap, the nearest arm wins, and it wins exponentially: the change from a
quarter of the arrows to three quarters takes a thirtieth of the whole time.

In the source's videos the turn comes near t = 0.4, on a different clock: their t counts steps, in which the logarithm
of the noise falls evenly, from 10 at t = 1 to 0.01 at t = 0, on a spiral whose deviation is 0.47. What is the same on
every clock is the noise over the data, sigma / alpha in units of the data's deviation. Our t is the share sigma /
(alpha + sigma), so

    sigma / alpha = t / (1 - t) = 0.01 * 1000^(t of the videos) / 0.47,

and their 0.4 is our 0.25. The numbers below also give our turn on their clock; by eye it can be read to 0.05.
"""

import math
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
from scorefield.lab.plane import learn
from scorefield.lab.plane.exact import posterior_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.quiver import Quiver

TIMES = [0.9 - 0.01 * k for k in range(87)]  # 0.9 to 0.04: where the directions are compared
VIDEOS_TURN = 0.4  # on the clock of the videos
VIDEOS_SIGMAS = (0.01, 10.0)  # at its t = 0 and t = 1
VIDEOS_DEVIATION = 0.471  # of their spiral: radius 0.1 to 1.1, evenly in the angle
NEAR = 0.1  # distance to the data below which arrows have no clear direction
ALIKE = math.cos(math.radians(30))  # directions closer than this are not distinguished


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSettings(Settings):
    """The shape, the training steps of its field, and the points at which directions are compared."""

    shape: str = "spiral"
    steps: Annotated[int, Field(ge=10, le=100_000)] = learn.Training().steps
    batch: Annotated[int, Field(ge=8, le=65_536)] = learn.Training().batch
    points: Annotated[int, Field(ge=50, le=20_000)] = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """Shares of turned arrows (times,) of both fields at TIMES, and the learned arrows (times, lattice, 2)."""

    nodes: Tensor
    learned: Tensor
    exact: Tensor
    lattice: Tensor
    arrows: Tensor
    turned: Tensor  # whether each arrow has turned (times, lattice)
    telling: Tensor  # whether this is defined at each place (lattice,)
    numbers: Mapping[str, float]


def telling(shape: shapes.Shape, x: Tensor) -> Tensor:
    """Whether the directions to the shape and to the centre differ enough at x (B, 2): (B,)."""
    way = nearest(shape, x) - x
    far: Tensor = way.norm(dim=1) > NEAR
    return far & (torch.cosine_similarity(way, -x) < ALIKE)


def disc(shape: shapes.Shape, count: int, generator: torch.Generator) -> Tensor:
    """`count` telling points (count, 2), uniform in the disc around the shape."""
    radius = float(shape.nodes.norm(dim=1).max())
    found = torch.empty(0, 2)
    while len(found) < count:
        radii = radius * torch.rand(count, generator=generator).sqrt()
        angles = 2 * math.pi * torch.rand(count, generator=generator)
        points = radii[:, None] * torch.stack([angles.cos(), angles.sin()], 1)
        found = torch.cat([found, points[telling(shape, points)]])
    return found[:count]


def nearest(shape: shapes.Shape, x: Tensor) -> Tensor:
    """The nearest node to each of x (B, 2)."""
    which = torch.cdist(x.double(), shape.nodes).argmin(1)
    return shape.nodes[which].float()


def pushes(denoise: Denoise, x: Tensor) -> Tensor:
    """The arrows D(x) - x at x (B, 2), at each of TIMES, with alpha = 1: (times, B, 2)."""
    return torch.stack([denoise(x, Level(1.0, t / (1 - t))) - x for t in TIMES])


def turned(push: Tensor, x: Tensor, near: Tensor) -> Tensor:
    """Whether each arrow (..., B, 2) at x (B, 2) points more to `near` (B, 2) than to the centre: (..., B)."""
    return torch.cosine_similarity(push, near - x, -1) > torch.cosine_similarity(push, -x.expand_as(push), -1)


def crossing(share: Tensor, level: float) -> float:
    """The t at which a share over TIMES first reaches `level`, from noise to data; the last t if never."""
    reached = (share >= level).nonzero()
    if not len(reached):
        return TIMES[-1]
    k = int(reached[0])
    if k == 0:
        return TIMES[0]
    part = (level - float(share[k - 1])) / float(share[k] - share[k - 1])
    return TIMES[k - 1] + part * (TIMES[k] - TIMES[k - 1])


def on_the_videos_clock(t: float) -> float:
    """The t of the videos with the same noise relative to the data."""
    low, high = VIDEOS_SIGMAS
    return math.log(t / (1 - t) * VIDEOS_DEVIATION / low) / math.log(high / low)


def run(settings: TurnSettings, watch: Watch) -> Turned:
    """Train, and count the turned arrows of the learned and of the exact field over time."""
    shape, generator = shapes.find(settings.shape), torch.Generator().manual_seed(settings.seed)
    how = learn.Training(steps=settings.steps, batch=settings.batch)
    field = learn.field(learn.learned(settings.shape, how, settings.seed, watch))
    x = disc(shape, settings.points, generator)
    near = nearest(shape, x)
    learned, exact = (turned(pushes(one, x), x, near).float().mean(1) for one in (field, posterior_mean(shape)))
    lattice = style.lattice()
    arrows = pushes(field, lattice)
    turn = crossing(exact, 0.5)
    return Turned(
        nodes=shape.nodes,
        learned=learned,
        exact=exact,
        lattice=lattice,
        arrows=arrows,
        turned=turned(arrows, lattice, nearest(shape, lattice)),
        telling=telling(shape, lattice),
        numbers={
            "turn": turn,
            "turn_of_the_learned_field": crossing(learned, 0.5),
            "learned_turn_away_from_exact": abs(crossing(learned, 0.5) - turn),
            "width_from_a_quarter_to_three": crossing(exact, 0.25) - crossing(exact, 0.75),
            "share_turned_at_the_noisy_end": float(exact[0]),
            "share_turned_at_the_clean_end": float(exact[-1]),
            "turn_on_the_videos_clock": on_the_videos_clock(turn),
            "away_from_the_videos_turn": abs(on_the_videos_clock(turn) - VIDEOS_TURN),
        },
    )


def _field(axes: "Axes", result: Turned) -> "Quiver":
    style.plane(axes)
    style.dots(axes, result.nodes, style.DATA, size=2.5, alpha=0.35)
    return style.arrows(axes, result.lattice, style.shortened(result.arrows[0]), style.LEARNED)


def _show(quiver: "Quiver", axes: "Axes", result: Turned, k: int) -> None:
    """Draw the field at time number k: blue where it has turned to the data, faint where that is undefined."""
    quiver.set_UVC(*style.shortened(result.arrows[k]).T.numpy())
    blue = (result.turned[k] & result.telling).tolist()
    quiver.set_color([style.LEARNED if one else style.RANDOM for one in blue])
    quiver.set_alpha(torch.where(result.telling, 1.0, 0.35).tolist())
    axes.set_title(f"t = {TIMES[k]:.2f}")


def _curves(axes: "Axes", result: Turned) -> None:
    axes.plot(TIMES, result.exact, color=style.EXACT, linewidth=3.5, alpha=0.7, label="exact field")
    axes.plot(TIMES, result.learned, color=style.LEARNED, label="learned field")
    axes.axhline(0.5, color=style.DATA, linewidth=0.8, linestyle="--")
    axes.set(
        xlim=(0.9, 0), ylim=(-0.03, 1.03), xlabel="t, from noise to data", ylabel="share of arrows that have turned"
    )


def draw(result: Turned) -> "Figure":
    """Draw the learned field before, at and after the turn, and the share of turned arrows over time."""
    figure, axes = style.figure(2, 2, width=8.0, height=7.6)
    turn = result.numbers["turn"]
    for plot, t in zip(axes, (turn + 0.15, turn, turn - 0.1), strict=False):
        k = min(range(len(TIMES)), key=lambda k: abs(TIMES[k] - t))
        _show(_field(plot, result), plot, result, k)
    curve = axes[-1]
    _curves(curve, result)
    curve.axvline(turn, color=style.EXACT, linewidth=0.9)
    curve.set_title(f"half have turned at t = {turn:.2f}")
    style.legend(curve, "upper left")
    return figure


def animate(result: Turned) -> Animation:
    """The field next to the curve of turned arrows."""

    def frames() -> Iterator[Image.Image]:
        figure, (plot, curve) = style.figure(1, 2, width=9.0, height=4.8)
        quiver = _field(plot, result)
        _curves(curve, result)
        style.legend(curve, "upper left")
        (now,) = curve.plot([], [], "o", color=style.DATA, markersize=9)

        def update(k: int) -> None:
            _show(quiver, plot, result, k)
            now.set_data([TIMES[k]], [float(result.learned[k])])

        yield from style.frames(figure, update, range(len(TIMES)))

    return Animation(frames(), per_second=10)


turn = Experiment(
    name="turn",
    claim="Near t = 0.4 on the videos' clock, 0.25 on ours, the field turns quickly from the centre to the spiral.",
    criteria=(
        Criterion("share_turned_at_the_noisy_end", "<=", 0.1),
        Criterion("share_turned_at_the_clean_end", ">=", 0.9),
        Criterion("away_from_the_videos_turn", "<=", 0.05),
        Criterion("width_from_a_quarter_to_three", "<=", 0.2),
        Criterion("learned_turn_away_from_exact", "<=", 0.02),
    ),
    settings=TurnSettings,
    run=run,
    draw=draw,
    animate=animate,
)
