"""The sprites: cut from the sheet, coloured, given a hat, and scaled; every step remembered."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from scorefield.data.arrays import Bytes, Mask
from scorefield.data.things import BY_NAME, COLOURS, THINGS, WORN
from scorefield.errors import RequestError

CELL = 96  # px of the sheet's cells
COLUMNS = 10
SHEET = Path(__file__).parent.parent / "assets" / "sprites.webp"


def glyphs() -> dict[str, str]:
    """Sprite name -> glyph, in the order of the sheet's cells."""
    return {thing.name: thing.glyph for thing in THINGS} | {f"worn {name}": glyph for name, glyph in WORN.items()}


@cache
def _sheet() -> Bytes:
    return np.asarray(Image.open(SHEET).convert("RGBA"))


@cache
def _cell(name: str) -> Bytes:
    """A sprite as drawn (h, w, 4) uint8, cropped to its ink."""
    row, column = divmod(list(glyphs()).index(name), COLUMNS)
    cell = _sheet()[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
    rows, columns = np.nonzero(cell[..., 3].max(1))[0], np.nonzero(cell[..., 3].max(0))[0]
    return cell[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _movable(rgb: Bytes, alpha: Bytes) -> Mask:
    """Which pixels carry the thing's own colour: saturated ones near its commonest hue (bool, same shape as alpha)."""
    hsv = np.asarray(Image.fromarray(rgb).convert("HSV")).astype(int)
    hue, saturation = hsv[..., 0], hsv[..., 1]
    vivid = (alpha > 128) & (saturation > 60)
    if vivid.sum() < 0.12 * (alpha > 128).sum():  # a black, white or grey thing: all of it
        return np.asarray(alpha > 0)
    counts = np.bincount(hue[vivid] // 8, minlength=32)
    common = int(np.argmax(counts + np.roll(counts, 1) + np.roll(counts, -1))) * 8 + 4
    apart = np.abs((hue - common + 128) % 256 - 128)
    return np.asarray((alpha > 0) & (apart < 24) & (saturation > 40))


def coloured(sprite: Bytes, colour: str) -> Bytes:
    """The sprite (h, w, 4) with its own colour moved to `colour`, its shading kept."""
    rgb, alpha = sprite[..., :3], sprite[..., 3]
    where = _movable(rgb, alpha)
    light = rgb.astype(np.float32) @ np.asarray((0.299, 0.587, 0.114), np.float32)
    low, middle, high = np.percentile(light[where], (4, 50, 96))
    dark, plain, bright = (np.asarray(stop, np.float32) for stop in COLOURS[colour])
    below = np.clip((light - low) / max(middle - low, 24), 0, 1)[..., None]
    above = np.clip((light - middle) / max(high - middle, 24), 0, 1)[..., None]
    moved = np.where(light[..., None] < middle, dark + (plain - dark) * below, plain + (bright - plain) * above)
    out = sprite.copy()
    out[where, :3] = moved[where].astype(np.uint8)
    return out


def _over(canvas: Bytes, sprite: Bytes, left: int, top: int) -> None:
    """Lay `sprite` on the RGBA `canvas` in place."""
    part = Image.fromarray(canvas)
    part.alpha_composite(Image.fromarray(sprite), (left, top))
    canvas[:] = np.asarray(part)


@cache
def _dressed(name: str, colour: str | None, worn: str | None) -> Bytes:
    """The sprite at the sheet's scale with its colour and hat."""
    sprite = _cell(name)
    if colour is not None:
        sprite = coloured(sprite, colour)
    if worn is None:
        return sprite
    place = BY_NAME[name].hat_at
    if place is None:
        raise RequestError(f"a {name} wears no hat; things that do: {', '.join(t.name for t in THINGS if t.hat_at)}")
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
def sprite(name: str, size: int, colour: str | None = None, worn: str | None = None) -> Bytes:
    """A thing's sprite (h, w, 4) uint8 whose longer side is `size` px.

    RequestError for a hat on a thing that wears none.
    """
    whole = Image.fromarray(_dressed(name, colour, worn))
    scale = size / max(whole.size)
    sides = (max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
    return np.asarray(whole.resize(sides, Image.Resampling.LANCZOS))
