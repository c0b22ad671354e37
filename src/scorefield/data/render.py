"""Render a scene: place, shadows, sprites, style."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from scorefield.data.arrays import Bytes
from scorefield.data.layout import Item
from scorefield.data.paint import SIZE
from scorefield.data.places import GROUND, painted
from scorefield.data.scenes import Scene
from scorefield.data.sprites import sprite
from scorefield.data.things import BY_NAME

SHADOW = 90  # of 255: the darkness of the shadow under a thing


@cache
def _shadow(width: int) -> NDArray[np.uint16]:
    """A soft ellipse (h, w) of darkness, 0..SHADOW."""
    height = max(6, width // 5)
    rows, columns = np.mgrid[0:height, 0:width]
    away = ((columns + 0.5) / width * 2 - 1) ** 2 + ((rows + 0.5) / height * 2 - 1) ** 2
    return np.asarray(np.clip(1 - away, 0, 1) * SHADOW).astype(np.uint16)


def _window(length: int, start: int) -> tuple[slice, slice]:
    """The part of a range of `length` from `start` that is inside the picture: its slices of picture and range."""
    first, last = (min(max(edge, 0), SIZE) for edge in (start, start + length))
    return slice(first, last), slice(first - start, last - start)


def _blend(picture: Bytes, colour: Bytes | int, alpha: Bytes | NDArray[np.uint16], left: int, top: int) -> None:
    """Blend `colour` ((h, w, 3) or one grey) over `picture` with `alpha` (h, w) in 0..255, in place."""
    rows, inner_rows = _window(alpha.shape[0], top)
    columns, inner_columns = _window(alpha.shape[1], left)
    part = picture[rows, columns].astype(np.uint16)
    a = alpha[inner_rows, inner_columns, None].astype(np.uint16)
    over = colour[inner_rows, inner_columns] if isinstance(colour, np.ndarray) else colour
    picture[rows, columns] = ((part * (255 - a) + over * a + 127) // 255).astype(np.uint8)


def _pencil(picture: Bytes) -> Bytes:
    """Grey strokes on paper: the grey picture divided by its blur (colour dodge)."""
    grey = Image.fromarray(picture).convert("L")
    blur = np.asarray(grey.filter(ImageFilter.GaussianBlur(3)), np.float32)
    strokes = np.clip(np.asarray(grey, np.float32) * 250 / np.maximum(blur, 1), 0, 250)
    return np.repeat(strokes.astype(np.uint8)[..., None], 3, axis=2)


def _watercolour(picture: Bytes) -> Bytes:
    """Washed-out blots: a median filter and few tones, lightened towards paper."""
    blots = np.asarray(Image.fromarray(picture).filter(ImageFilter.MedianFilter(5)), np.float32)
    return np.clip(np.round(blots / 32) * 32 * 0.66 + 255 * 0.34, 0, 255).astype(np.uint8)


def _pixel(picture: Bytes) -> Bytes:
    """Blocks of 4 x 4 px."""
    small: Bytes = picture.reshape(SIZE // 4, 4, SIZE // 4, 4, 3).mean((1, 3)).astype(np.uint8)
    return np.repeat(np.repeat(small, 4, 0), 4, 1)


def _mono(picture: Bytes) -> Bytes:
    """Black, white and greys."""
    return np.repeat(np.asarray(Image.fromarray(picture).convert("L"))[..., None], 3, axis=2)


def _blurred(picture: Bytes) -> Bytes:
    """Out of focus."""
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(3)))


@cache
def _waves() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The source row and column of each pixel of a distorted picture."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    down = rows + 5 * np.sin(columns / 7) + 4 * np.sin(rows / 5 + columns / 11)
    right = columns + 6 * np.sin(rows / 6 + 1) + 3 * np.sin(columns / 4)
    return tuple(np.clip(np.rint(one), 0, SIZE - 1).astype(np.intp) for one in (down, right))


def _distorted(picture: Bytes) -> Bytes:
    """Bent as in a wavy mirror."""
    return picture[_waves()]


FILTERS = {
    "pencil": _pencil,
    "watercolour": _watercolour,
    "pixel": _pixel,
    "mono": _mono,
    "blurred": _blurred,
    "distorted": _distorted,
}


def stand(picture: Bytes, sprite: Bytes, x: int, y: int, *, shadow: bool) -> None:
    """Blend `sprite` (h, w, 4) over `picture`, in place, centred at (x, y) px, with or without a shadow."""
    height, width = sprite.shape[:2]
    left, top = x - width // 2, y - height // 2
    if shadow:
        dark = _shadow(width)
        _blend(picture, 0, dark, left, top + height - dark.shape[0] // 2 - 1)
    _blend(picture, sprite[..., :3], sprite[..., 3], left, top)


def _grounded(item: Item, height: int, place: str) -> bool:
    """Whether the thing touches the ground, and so casts a shadow."""
    foot = item.y - height // 2 + height
    return place in GROUND and foot >= GROUND[place] and BY_NAME[item.thing].kind != "sky"


def drawn(item: Item) -> Bytes:
    """The item's sprite (h, w, 4)."""
    return sprite(item.thing, item.size, item.colour, item.worn, item.flip, item.turn)


def render(scene: Scene, look: Callable[[Item], Bytes] = drawn, behind: Bytes | None = None) -> Bytes:
    """The scene's picture (128, 128, 3), with the sprites that `look` returns, before its place or what is `behind`."""
    picture = (painted(scene.place, scene.variant) if behind is None else behind).copy()
    carried: tuple[Item, ...] = ()
    if scene.relation in ("on", "riding", "holding"):
        carried = scene.items[1:] if scene.relation == "holding" else scene.items[:1]
    last_first = scene.items[::-1]  # at equal depth, the first named is on top
    for item in sorted(last_first, key=lambda one: one.depth):
        shown = look(item)
        shadow = item not in carried and _grounded(item, shown.shape[0], scene.place)
        stand(picture, shown, item.x, item.y, shadow=shadow)
    return FILTERS[scene.style](picture) if scene.style else picture
