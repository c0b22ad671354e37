"""The style of every figure of the lab: colours with one meaning each, and axes for the plane."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import torch
from PIL import Image
from torch import Tensor

from scorefield.files.video import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.quiver import Quiver

Place = Literal["best", "upper right", "upper left", "lower left", "lower right", "center right", "center left"]

# Okabe & Ito's colours, which colour-blind readers can distinguish.
LEARNED = "#0072B2"  # blue: the network
RANDOM = "#8A8A8A"  # grey: added noise
UNCONDITIONAL = "#8A8A8A"  # grey: the field without a condition
CONDITIONAL = "#E69F00"  # yellow: the field under a condition
GUIDED = "#009E73"  # green: the guided field
EXACT = "#D55E00"  # vermilion: the closed form
DATA = "#2B2B2B"  # near black: the data
OTHER = "#CC79A7"  # purple: a further series
SERIES = (LEARNED, CONDITIONAL, GUIDED, EXACT, OTHER, "#56B4E9", DATA, RANDOM)  # for lines without such a meaning
CLASSES = ("#56B4E9", "#CC79A7", "#E69F00")  # person, dog, cat
LIMIT = 2.6  # half the side of a picture of the plane: unit data and unit noise fit

_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.22,
    "figure.dpi": 160,
    "savefig.dpi": 160,
    "lines.linewidth": 1.8,
    "image.cmap": "viridis",
}

T = TypeVar("T")


def figure(rows: int = 1, columns: int = 1, *, width: float = 8.0, height: float = 4.5) -> "tuple[Figure, list[Axes]]":
    """A figure with rows x columns axes, row by row; sizes in inches at 160 dpi, so 8 inches are 1,280 px.

    MissingExtraError without matplotlib. The figure has no window and no global state, so nothing needs to be closed.
    """
    made, axes = mosaic([[f"{row} {column}" for column in range(columns)] for row in range(rows)], width, height)
    return made, list(axes.values())


def mosaic(
    pattern: Sequence[Sequence[str]], width: float = 8.0, height: float = 4.5, heights: Sequence[float] | None = None
) -> "tuple[Figure, dict[str, Axes]]":
    """A figure whose axes are laid out by `pattern`, one letter per cell; axes span all cells of their letter.

    `["aab", "ccb"]` has three axes; `heights` are relative heights of the rows. Otherwise as `figure`.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("figures need the extra `lab`: pip install 'scorefield[lab]'") from None
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        made = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(made)  # draws the figure into memory
        axes: dict[str, Axes] = made.subplot_mosaic([list(row) for row in pattern], height_ratios=heights)
    return made, axes


def plane(axes: "Axes", title: str = "", limit: float = LIMIT) -> "Axes":
    """Set up axes for points: equal units, the same range in every figure, few ticks."""
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=title)
    axes.set_xticks(range(-int(limit), int(limit) + 1))
    axes.set_yticks(range(-int(limit), int(limit) + 1))
    return axes


def dots(
    axes: "Axes",
    x: Tensor,
    colour: str,
    *,
    size: float = 2.0,
    alpha: float = 0.5,
    label: str | None = None,
    order: int = 2,
) -> "PathCollection":
    """Draw a cloud of points (N, 2), or one point (2,); `size` in square points."""
    x = x.detach().reshape(-1, 2).cpu()
    return axes.scatter(
        x[:, 0].numpy(), x[:, 1].numpy(), s=size, color=colour, alpha=alpha, linewidths=0, label=label, zorder=order
    )


def arrows(axes: "Axes", x: Tensor, push: Tensor, colour: str, *, alpha: float = 1.0) -> "Quiver":
    """Draw an arrow `push` (N, 2) at every point x (N, 2), in the units of the plane."""
    x, push = x.detach().cpu(), push.detach().cpu()
    return axes.quiver(
        *x.T.numpy(), *push.T.numpy(), color=colour, alpha=alpha, angles="xy", scale_units="xy", scale=1, width=0.0045,
        headwidth=3.5, headlength=4.0, zorder=3,
    )  # fmt: skip


def lattice(count: int = 21, limit: float = LIMIT) -> Tensor:
    """The centres (count^2, 2) of count x count equal cells of the plane, where a field's arrows are drawn."""
    middles = limit * ((2 * torch.arange(count) + 1) / count - 1)
    return torch.cartesian_prod(middles, middles)


def shortened(push: Tensor, longest: float = 0.3) -> Tensor:
    """Arrows (N, 2) compressed to less than `longest`, long ones most, without changing their direction.

    A field spans several powers of ten; drawn to scale, the outer arrows would cover each other.
    """
    length: Tensor = push.norm(dim=-1, keepdim=True)
    return push * longest / (length + longest)


def legend(axes: "Axes", place: Place = "best", columns: int = 1) -> None:
    """Add a small legend without a frame."""
    axes.legend(loc=place, ncols=columns, frameon=False, fontsize=9, handlelength=1.4, borderaxespad=0.3)


def image(figure: "Figure", dpi: float = 100.0) -> Image.Image:
    """Render the figure; 8 inches are 800 px by default. The layout of the first call is kept."""
    figure.dpi = dpi
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    canvas = cast("FigureCanvasAgg", figure.canvas)
    canvas.draw()  # type: ignore[no-untyped-call]  # once; `savefig` would draw twice, for the layout of each frame
    drawn = bytes(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.frombytes("RGBA", canvas.get_width_height(), drawn).convert("RGB")


def frames(
    figure: "Figure", update: Callable[[T], object], moments: Iterable[T], dpi: float = 80.0
) -> Iterator[Image.Image]:
    """Render one frame per moment: `update` changes the figure, which is then drawn again."""
    for moment in moments:
        update(moment)
        yield image(figure, dpi)
