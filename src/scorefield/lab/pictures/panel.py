"""Pictures in a figure: rows and columns of them with names, in one pair of axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

GAP = 6  # px between pictures


def mosaic(pictures: Tensor) -> Tensor:
    """Pictures (rows, columns, 3, H, W) uint8 on one white sheet (height, width, 3)."""
    rows, columns, _, height, width = pictures.shape
    sheet = torch.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, dtype=torch.uint8)
    for i in range(rows):
        for j in range(columns):
            top, left = i * (height + GAP), j * (width + GAP)
            sheet[top : top + height, left : left + width] = pictures[i, j].movedim(0, -1)
    return sheet


def show(
    axes: "Axes", pictures: Tensor, columns: Sequence[str] = (), rows: Sequence[str] = (), title: str = ""
) -> "AxesImage":
    """Draw pictures (rows, columns, 3, H, W) uint8, with column names above and row names on the left."""
    height, width = pictures.shape[-2:]
    axes.set_title(title)
    axes.set_frame_on(False)
    axes.grid(visible=False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, pad=3)
    axes.set_xticks([j * (width + GAP) + width / 2 for j in range(len(columns))], columns)
    axes.set_yticks([i * (height + GAP) + height / 2 for i in range(len(rows))], rows)
    return axes.imshow(mosaic(pictures).numpy(), interpolation="antialiased")


def across(first: "Axes", *others: "Axes") -> "Axes":
    """Extend the first of a row of axes over the others, which are removed."""
    spec, last = first.get_subplotspec(), (others or (first,))[-1].get_subplotspec()
    if spec is None or last is None:
        raise ValueError("these axes do not belong to a grid")
    first.set_subplotspec(spec.get_gridspec()[spec.rowspan.start, spec.colspan.start : last.colspan.stop])
    for one in others:
        one.remove()
    return first


def ratios(axes: "Axes", heights: Sequence[float] = (), widths: Sequence[float] = ()) -> None:
    """Set the row heights and column widths of the figure of these axes."""
    spec = axes.get_subplotspec()
    if spec is None:
        raise ValueError("these axes do not belong to a grid")
    if heights:
        spec.get_gridspec().set_height_ratios(heights)
    if widths:
        spec.get_gridspec().set_width_ratios(widths)
