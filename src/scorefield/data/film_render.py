"""Render a film: its still place, the weather that falls there, its things, and what went wrong."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from scorefield.data.arrays import Bytes, Mask
from scorefield.data.film_scenes import Film
from scorefield.data.paint import COLUMNS, ROWS, SIZE, Colour, disc
from scorefield.data.places import dry
from scorefield.data.render import FILTERS, render
from scorefield.data.scripts import FRAMES

FALL: dict[str, tuple[int, int, Colour]] = {  # place -> px that its weather moves down and right in a frame, colour
    "snow": (4, 0, (255, 255, 255)),
    "rain": (10, -4, (206, 220, 236)),
}
SHAKE = ((0, 0), (5, -3), (-4, 4), (2, 5), (-5, -4), (4, 1), (-2, -5), (5, 4))  # px down and right, over and over
DIM = 0.55  # of the brightness, in every second frame of a film that flickers


@cache
def _flakes(place: str, variant: int) -> Mask:
    """The weather of the first frame (SIZE, SIZE); it wraps at the edges."""
    rng = np.random.default_rng([len(FALL), list(FALL).index(place), variant])
    mask = np.zeros((SIZE, SIZE), bool)
    for x, y in rng.uniform(3, SIZE - 8, (32, 2)):
        if place == "snow":
            mask |= disc(x, y, rng.uniform(1.3, 2.1))
        else:
            mask |= (np.abs(COLUMNS - x + (ROWS - y) * 0.4) < 0.8) & (ROWS > y) & (ROWS < y + 8)
    return mask


def behind(film: Film, k: int) -> Bytes:
    """The place of frame `k`, with its weather, behind the things."""
    picture = dry(film.place, film.variant)
    if film.place not in FALL:
        return picture
    down, right, colour = FALL[film.place]
    flakes = np.roll(_flakes(film.place, film.variant), (k * down, k * right), (0, 1))
    return np.where(flakes[..., None], np.asarray(colour, np.uint8), picture)


def _still(frames: Bytes) -> Bytes:
    return np.repeat(frames[len(frames) // 2][None], len(frames), 0)


def _flickering(frames: Bytes) -> Bytes:
    out = frames.copy()
    out[1::2] = (out[1::2] * DIM).astype(np.uint8)
    return out


def _shaking(frames: Bytes) -> Bytes:
    """Every frame moved by some px; what it lacks is filled from its edge."""
    most = max(abs(step) for way in SHAKE for step in way)
    wide = np.pad(frames, ((0, 0), (most, most), (most, most), (0, 0)), "edge")
    corners = [(most - down, most - right) for down, right in (SHAKE[k % len(SHAKE)] for k in range(len(frames)))]
    moved = (one[top : top + SIZE, left : left + SIZE] for one, (top, left) in zip(wide, corners, strict=True))
    return np.stack([*moved])


def _each(change: Callable[[Bytes], Bytes]) -> Callable[[Bytes], Bytes]:
    return lambda frames: np.stack([change(one) for one in frames])


SPOIL: dict[str, Callable[[Bytes], Bytes]] = {  # fault -> frames (F, SIZE, SIZE, 3) with it
    "blurred": _each(FILTERS["blurred"]),
    "still": _still,
    "backwards": lambda frames: frames[::-1],
    "flickering": _flickering,
    "shaking": _shaking,
    "distorted": _each(FILTERS["distorted"]),
}


def render_film(film: Film, faults: Sequence[str] | None = None, count: int = FRAMES) -> Bytes:
    """The first frames (count, 128, 128, 3) uint8, with the film's own faults or with those given."""
    frames = np.stack([render(film.frame(k), behind=behind(film, k)) for k in range(count)])
    for fault in film.faults if faults is None else faults:
        frames = SPOIL[fault](frames)
    return np.ascontiguousarray(frames)
