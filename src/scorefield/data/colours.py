"""The colours that a thing can have, and how its sprite is dyed."""

from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from scorefield.data.arrays import Bytes, Floats, Mask
from scorefield.data.things import Dye

# Dark, middle and light of each colour: the sprite's shading runs along this ramp.
COLOURS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]] = {
    "red": ((110, 8, 12), (224, 32, 36), (255, 130, 120)),
    "orange": ((150, 60, 0), (250, 130, 10), (255, 196, 120)),
    "yellow": ((150, 120, 0), (252, 220, 20), (255, 246, 150)),
    "green": ((6, 74, 20), (40, 160, 56), (150, 226, 150)),
    "blue": ((8, 28, 110), (30, 92, 224), (140, 190, 255)),
    "purple": ((50, 10, 94), (124, 50, 186), (206, 160, 246)),
    "pink": ((176, 50, 110), (255, 130, 188), (255, 210, 232)),
    "black": ((4, 4, 6), (34, 34, 38), (104, 104, 112)),
    "white": ((150, 150, 156), (236, 236, 240), (255, 255, 255)),
    "brown": ((58, 32, 14), (122, 74, 38), (190, 146, 104)),
    "grey": ((62, 64, 70), (134, 138, 146), (206, 210, 216)),
    "colourful": ((96, 96, 96), (200, 200, 200), (255, 255, 255)),  # the brightness of its stripes
}
STRIPES: tuple[tuple[int, int, int], ...] = (
    (232, 44, 44), (250, 140, 20), (250, 220, 30), (52, 176, 66), (40, 110, 230), (140, 60, 200),
)  # fmt: skip
WORDS: dict[str, tuple[str, ...]] = {  # colour -> its words
    **{name: (name,) for name in COLOURS},
    "yellow": ("yellow", "golden"),
    "purple": ("purple", "violet"),
    "grey": ("grey", "gray", "silver"),
    "colourful": ("colourful", "colorful"),
}


def _movable(rgb: Bytes, alpha: Bytes, dye: Dye) -> Mask:
    """The pixels with the thing's own colour: saturated, near its commonest hue (bool, the shape of alpha)."""
    hsv = np.asarray(Image.fromarray(rgb).convert("HSV")).astype(int)
    hue, saturation = hsv[..., 0], hsv[..., 1]
    vivid = (alpha > 128) & (saturation > 60)
    if dye == "whole" or vivid.sum() < 0.12 * (alpha > 128).sum():
        return np.asarray(alpha > 0)
    counts = np.bincount(hue[vivid] // 8, minlength=32)
    common = int(np.argmax(counts + np.roll(counts, 1) + np.roll(counts, -1))) * 8 + 4
    apart = np.abs((hue - common + 128) % 256 - 128)
    return np.asarray((alpha > 0) & (apart < 24) & (saturation > 40))


class Shades(NamedTuple):
    """A sprite ready to be dyed: the pixels that take the colour, and their lightness."""

    where: Mask  # (h, w)
    light: Bytes  # (h, w): 0 for the dark end of a ramp, 128 for its middle, 255 for the light end


def shades(sprite: Bytes, dye: Dye) -> Shades:
    """The shades of a sprite (h, w, 4)."""
    rgb, alpha = sprite[..., :3], sprite[..., 3]
    where = _movable(rgb, alpha, dye)
    light = rgb.astype(int) @ (299, 587, 114) / 1000  # whole numbers: products of float32 round as the processor likes
    low, middle, high = np.percentile(light[where], (4, 50, 96))
    below = np.clip((light - low) / max(middle - low, 24), 0, 1)
    above = np.clip((light - middle) / max(high - middle, 24), 0, 1)
    return Shades(where, np.where(light < middle, 128 * below, 128 + 127 * above).astype(np.uint8))


@cache
def _ramp(colour: str) -> Bytes:
    """The 256 colours (256, 3) from the dark end through the middle to the light end."""
    stops = np.asarray(COLOURS[colour], np.float32)
    places = (0, 128, 255)
    return np.stack([np.interp(np.arange(256), places, stops[:, k]) for k in range(3)], 1).astype(np.uint8)


@cache
def _stripes(height: int, width: int) -> Floats:
    """The stripes of the rainbow (h, w, 3) in 0..1, from the top left to the bottom right."""
    rows, columns = np.mgrid[0:height, 0:width]
    share = (rows / height + columns / width) / 2
    stripe = np.minimum((share * len(STRIPES)).astype(int), len(STRIPES) - 1)
    return np.asarray(np.asarray(STRIPES, np.float32)[stripe] / 255, np.float32)


def coloured(sprite: Bytes, colour: str, shades: Shades) -> Bytes:
    """The sprite (h, w, 4) with its own colour changed to `colour`, and its shading kept."""
    moved = _ramp(colour)[shades.light]
    if colour == "colourful":
        moved = (moved * _stripes(*shades.light.shape)).astype(np.uint8)
    out = sprite.copy()
    out[..., :3] = np.where(shades.where[..., None], moved, out[..., :3])
    return out
