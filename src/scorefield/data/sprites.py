"""The sprites: cut from the sheet, coloured, dressed with a hat, turned and scaled, with caches for each step."""

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from scorefield.data.arrays import Bytes
from scorefield.data.colours import Shades, coloured, shades
from scorefield.data.things import BY_NAME, THINGS, WORN
from scorefield.errors import RequestError

CELL = 136  # px of the sheet's cells: the artwork's own size
COLUMNS = 14
SHEET = Path(__file__).parent.parent / "assets" / "sprites.webp"


def glyphs() -> dict[str, str]:
    """Sprite name -> glyph, in the order of the sheet's cells."""
    return {thing.name: thing.glyph for thing in THINGS} | {f"worn {name}": glyph for name, glyph in WORN.items()}


@cache
def _sheet() -> Bytes:
    return np.asarray(Image.open(SHEET).convert("RGBA"))


@cache
def _cell(name: str) -> Bytes:
    """A sprite of the sheet (h, w, 4) uint8, cropped to its visible part."""
    row, column = divmod(list(glyphs()).index(name), COLUMNS)
    cell = _sheet()[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
    rows, columns = np.nonzero(cell[..., 3].max(1))[0], np.nonzero(cell[..., 3].max(0))[0]
    return cell[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@cache
def _shades(name: str) -> Shades:
    dye = BY_NAME[name].dye
    if dye is None:
        raise RequestError(f"a {name} cannot be coloured")
    return shades(_cell(name), dye)


def _over(canvas: Bytes, sprite: Bytes, left: int, top: int) -> None:
    """Composite `sprite` onto the RGBA `canvas`, in place."""
    part = Image.fromarray(canvas)
    part.alpha_composite(Image.fromarray(sprite), (left, top))
    canvas[:] = np.asarray(part)


@lru_cache(512)
def _dressed(name: str, colour: str | None, worn: str | None) -> Bytes:
    """The sprite at the sheet's scale with its colour and hat."""
    sprite, thing = _cell(name), BY_NAME[name]
    if colour is not None:
        sprite = coloured(sprite, colour, _shades(name))
    if worn is None:
        return sprite
    place = thing.hat_at
    if place is None:
        raise RequestError(f"a {name} cannot wear a hat; these can: {', '.join(t.name for t in THINGS if t.hat_at)}")
    height, width = sprite.shape[:2]
    hat = Image.fromarray(_cell(f"worn {worn}"))
    side = (round(place[2] * width), round(place[2] * width * hat.height / hat.width))
    hat = hat.resize(side, Image.Resampling.LANCZOS)
    left, top = round(place[0] * width - hat.width / 2), round(place[1] * height - 0.86 * hat.height)
    pad_left, pad_top = max(0, -left), max(0, -top)
    pad_right = max(0, left + hat.width - width)
    canvas = np.zeros((height + pad_top, width + pad_left + pad_right, 4), np.uint8)
    canvas[pad_top : pad_top + height, pad_left : pad_left + width] = sprite
    _over(canvas, np.asarray(hat), left + pad_left, top + pad_top)
    return canvas


@cache
def sides(name: str, size: int, worn: str | None = None) -> tuple[int, int]:
    """Width and height in px of a thing's sprite whose longer side is `size` px."""
    height, width = _dressed(name, None, worn).shape[:2]
    scale = size / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


@lru_cache(4096)
def sprite(
    name: str, size: int, colour: str | None = None, worn: str | None = None, flip: bool = False, turn: int = 0
) -> Bytes:
    """A thing's sprite (h, w, 4) uint8 whose longer side is `size` px, mirrored with `flip`, turned by `turn` degrees.

    RequestError for a hat on a thing that cannot wear one, and for a colour of a thing that cannot be coloured.
    """
    whole = Image.fromarray(_dressed(name, colour, worn)).resize(sides(name, size, worn), Image.Resampling.LANCZOS)
    if flip:
        whole = whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if turn:
        whole = whole.rotate(turn, Image.Resampling.BICUBIC, expand=True)
    return np.asarray(whole)
