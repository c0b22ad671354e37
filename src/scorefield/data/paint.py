"""The tools that paint places: fades, skylines, discs and flat colours, in numpy."""

import numpy as np

from scorefield.data.arrays import Floats, Mask

SIZE = 128  # px, both sides of a scene

Colour = tuple[int, int, int]

ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)


def rgb(colour: Floats | Colour) -> Floats:
    """A colour, or a picture of colours, as float32."""
    return np.asarray(colour, np.float32)


def fade(top: Colour, bottom: Colour, start: float = 0, stop: float = SIZE) -> Floats:
    """A vertical fade between two colours, from row `start` to row `stop`."""
    share = np.clip((ROWS - start) / max(stop - start, 1), 0, 1)[..., None]
    return np.asarray(rgb(top) * (1 - share) + rgb(bottom) * share, np.float32)


def where(mask: Mask, inside: Floats | Colour, outside: Floats) -> Floats:
    """`inside` in the mask (SIZE, SIZE), `outside` elsewhere."""
    return np.where(mask[..., None], rgb(inside), outside)


def ridge(rng: np.random.Generator, height: float, swing: float, waves: int = 3) -> Floats:
    """A smooth skyline: for each column the row where the land begins (SIZE,)."""
    x = np.arange(SIZE) / SIZE * 2 * np.pi
    line = sum(rng.uniform(0.3, 1) / k * np.sin(k * x * 0.6 + rng.uniform(0, 6.3)) for k in range(1, waves + 1))
    return np.asarray(height + swing * np.asarray(line, np.float32), np.float32)


def disc(x: float, y: float, radius: float) -> Mask:
    """The pixels within `radius` of (x, y)."""
    return np.asarray((COLUMNS - x) ** 2 + (ROWS - y) ** 2 < radius**2)
