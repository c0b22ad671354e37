"""The figure and the animation of guidance among the classes of a shape."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from PIL import Image

from scorefield.data.shapes import Shape
from scorefield.lab import style
from scorefield.lab.experiment import Animation
from scorefield.lab.plane import levels
from scorefield.lab.plane.by_class import names
from scorefield.lab.plane.class_guidance import ALPHAS, GRID, GUIDED, SHOWN, TIMES, WIDE, Guided

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.quiver import Quiver


def draw(result: Guided) -> "Figure":
    """Draw the three fields and their agreement, one point, all classes, share and fit over alpha, and a negative."""
    figure, axes = style.figure(3, 3, width=8.0, height=8.8)
    labels = names(result.shape)
    for plot, t in zip(axes, SHOWN, strict=False):
        drawn = _draw_fields(plot, result, t)
    fields = ("no class", labels[-1], f"{labels[-1]}, guided (alpha = {GUIDED:g})")
    figure.legend(drawn, fields, loc="outside upper left", ncols=3, frameon=False)
    _draw_agreement(axes[2], result)
    _draw_one(axes[3], result)
    for plot, alpha, title in (
        (axes[4], 1.0, "conditioning alone"),
        (axes[5], GUIDED, f"guidance, alpha = {GUIDED:g}"),
    ):
        _draw_nodes(plot, result.shape, title)
        for colour, cloud in zip(style.CLASSES, result.clouds[alpha], strict=False):
            style.dots(plot, cloud, colour, size=4, alpha=0.9, order=3)
    for plot, values, title in ((axes[6], result.right, "right class"), (axes[7], result.fit, "misfit to the class")):
        for colour, name, line in zip(style.CLASSES, labels, values.T, strict=False):
            plot.plot(ALPHAS, line, "o-", color=colour, markersize=3.5, label=name)
        plot.set(xlabel="alpha", title=title)
    axes[6].yaxis.set_major_formatter("{x:.0%}")
    axes[7].set_ylim(0, None)
    style.legend(axes[6], "lower right")
    _draw_nodes(axes[8], result.shape, f"anything but {labels[int(result.shape.label.max()) // 2]}", WIDE)
    style.dots(axes[8], result.without, style.GUIDED, size=4, alpha=0.9, order=3)
    return figure


def _draw_nodes(axes: "Axes", shape: Shape, title: str, limit: float = style.LIMIT) -> None:
    _plane(axes, title, limit)
    for label, colour in zip(range(int(shape.label.max()) + 1), style.CLASSES, strict=False):
        style.dots(axes, shape.only(label).nodes, colour, size=8, alpha=0.03)


def _draw_wanted(axes: "Axes", shape: Shape) -> None:
    """Draw the nodes, darker for the last class."""
    style.dots(axes, shape.nodes, style.DATA, size=1, alpha=0.15)
    style.dots(axes, shape.only(int(shape.label.max())).nodes, style.DATA, size=3, alpha=0.5)


def _plane(axes: "Axes", title: str, limit: float = style.LIMIT) -> None:
    style.plane(axes, title, limit)
    axes.tick_params(labelbottom=False, labelleft=False, length=0)


def _draw_fields(axes: "Axes", result: Guided, t: float) -> "list[Quiver]":
    limit = float(result.pushes[t][0][0].max()) * 1.1
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=f"three fields, t = {t:g}")
    _draw_wanted(axes, result.shape)
    colours = (style.UNCONDITIONAL, style.CONDITIONAL, style.GUIDED)
    return [
        style.arrows(axes, places, style.shortened(way, 0.2 * limit), colour)
        for colour, (places, way) in zip(colours, result.pushes[t], strict=True)
    ]


def _draw_agreement(axes: "Axes", result: Guided) -> None:
    axes.plot(TIMES, result.exact, "--", color=style.EXACT, label="exact fields")
    axes.plot(TIMES, result.learned, color=style.LEARNED, label="learned fields")
    axes.set(xlabel="t, the share of noise", title="do they agree? (cosine)", ylim=(None, 1.05))
    style.legend(axes, "lower right")


def _draw_one(axes: "Axes", result: Guided) -> None:
    _plane(axes, f"one {names(result.shape)[-1]} on its way")
    _draw_wanted(axes, result.shape)
    for way, colour in zip(result.ways, (style.CONDITIONAL, style.GUIDED), strict=True):
        one = way[:, result.followed]
        axes.plot(*one.T, color=colour, zorder=3)
        style.dots(axes, one[-1], colour, size=40, alpha=1, order=4)
    style.dots(axes, one[0], style.DATA, size=40, alpha=1, order=4)


def animate(result: Guided) -> Animation:
    """The walk of the last class, under conditioning alone and under guidance, over the two fields."""

    def frames() -> Iterator[Image.Image]:
        figure, axes = style.figure(1, 2, width=6.4, height=3.8)
        name, moving = names(result.shape)[-1], []
        titles = (f"{name}, conditioning alone", f"{name}, guided")
        for plot, title, colour in zip(axes, titles, (style.CONDITIONAL, style.GUIDED), strict=True):
            _plane(plot, title, WIDE)
            _draw_wanted(plot, result.shape)
            field = style.arrows(plot, GRID, result.arrows[0][0], style.UNCONDITIONAL, alpha=0.6)
            moving.append((field, style.dots(plot, result.ways[0][0], colour, size=5, alpha=0.9, order=4)))
        title_text = figure.suptitle("t = 1.00")

        def update(k: int) -> None:
            for (field, cloud), way, arrows in zip(moving, result.ways, result.arrows, strict=True):
                cloud.set_offsets(way[k].numpy())
                field.set_UVC(*arrows[min(k, len(arrows) - 1)].T.numpy())
            title_text.set_text(f"t = {levels.share(result.levels[k]):.2f}")

        last = len(result.levels) - 1
        every = max(1, last // 80)
        for frame in style.frames(figure, update, [*range(0, last, every), last], dpi=100):
            yield frame
        yield from itertools.repeat(frame, 15)

    return Animation(frames(), per_second=10)
