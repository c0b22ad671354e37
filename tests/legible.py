"""Whether a figure can be read at 800 px: no words cut off, none over others."""

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

DPI = 100  # 8 inches are 800 px
SMALLEST = 6.0  # points


def faults(figure: Figure) -> list[str]:
    """What of the figure's words is cut off, lies over others or is too small."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    canvas.draw()
    wide, high = figure.bbox.size
    texts = [(one.get_text(), _box(one), one.get_fontsize()) for one in _texts(figure)]
    cut = [f"{told!r} is cut off" for told, box, _ in texts
           if min(box.x0, box.y0) < 0 or box.x1 > wide or box.y1 > high]  # fmt: skip
    over = [f"{a!r} and {b!r} overlap" for (a, one, _), (b, other, _) in combinations(texts, 2) if one.overlaps(other)]
    return cut + over + [f"{told!r} has {size:g} points" for told, _, size in texts if size < SMALLEST]


def _texts(figure: Figure) -> list[Text]:
    found = [*figure.texts, *([figure._suptitle] if figure._suptitle else [])]
    for axes in figure.axes:
        found += _of(axes)
    return [one for one in dict.fromkeys(found) if one.get_visible() and one.get_text().strip()]


def _of(axes: Axes) -> list[Text]:
    legend = axes.get_legend()
    found = [*axes.texts, axes.title, *(legend.get_texts() if legend else [])]
    for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
        found += [axis.label, *_ticks(axis)]
    return found


def _ticks(axis: Axis) -> list[Text]:
    """The labels of the ticks in view; matplotlib keeps some outside it, and never draws them."""
    low, high = sorted(axis.get_view_interval())
    ticks = [one for one in axis.get_major_ticks() if low <= one.get_loc() <= high]
    return [text for one in ticks for text in (one.label1, one.label2)]


def _box(text: Text) -> Bbox:
    """Where a text lies in px, with the frame about it."""
    frame = text.get_bbox_patch()
    return text.get_window_extent() if frame is None else frame.get_window_extent()
