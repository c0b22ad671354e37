"""The painted places behind the things: a few strokes of numpy each, in a fixed number of variants."""

from collections.abc import Callable
from functools import cache

import numpy as np

from scorefield.data import landscapes
from scorefield.data.arrays import Bytes, Floats
from scorefield.data.paint import COLUMNS, ROWS, SIZE, Colour, disc, fade, rgb, ridge, where

VARIANTS = 24  # paintings of each place

Painter = Callable[[np.random.Generator], Floats]  # -> (SIZE, SIZE, 3) in 0..255


def desert(rng: np.random.Generator) -> Floats:
    """Pale sky over two lines of dunes."""
    sky = fade((120, 190, 240), (250, 226, 180), 0, 60)
    far = where(ROWS > ridge(rng, 52, 5), fade((226, 178, 112), (214, 160, 92), 48, 80), sky)
    return where(ROWS > ridge(rng, 74, 8), fade((240, 200, 130), (222, 172, 98), 70, SIZE), far)


def beach(rng: np.random.Generator) -> Floats:
    """Sky, a band of sea, sand."""
    horizon = rng.uniform(40, 50)
    sky = fade((130, 205, 250), (222, 242, 252), 0, horizon)
    picture = where(ROWS > horizon, fade((30, 130, 190), (90, 200, 210), horizon, 72), sky)
    shore = ridge(rng, 72, 3)
    picture = where(ROWS > shore - 2, (248, 252, 252), picture)
    return where(ROWS > shore + 1, fade((250, 230, 178), (240, 212, 150), 70, SIZE), picture)


def meadow(rng: np.random.Generator) -> Floats:
    """Blue sky and clouds over green hills."""
    picture = fade((110, 185, 245), (215, 238, 252), 0, 60)
    for _ in range(3):
        x, y = rng.uniform(8, 120), rng.uniform(8, 34)
        for step in (-8, 0, 8):
            picture = where(disc(x + step, y + abs(step) * 0.3, 7), (252, 253, 255), picture)
    picture = where(ROWS > ridge(rng, 56, 6), fade((126, 196, 92), (104, 180, 76), 50, 80), picture)
    return where(ROWS > ridge(rng, 76, 5), fade((104, 184, 70), (66, 144, 48), 72, SIZE), picture)


def white_land(rng: np.random.Generator) -> Floats:
    """Grey-blue sky, white ground."""
    sky = fade((160, 186, 212), (216, 228, 240), 0, 64)
    return where(ROWS > ridge(rng, 64, 6), fade((250, 252, 255), (222, 232, 246), 60, SIZE), sky)


def snow(rng: np.random.Generator) -> Floats:
    """White land, flakes."""
    picture = white_land(rng)
    for x, y in rng.uniform(0, SIZE, (36, 2)):
        picture = where(disc(x, y, rng.uniform(1.0, 1.9)), (255, 255, 255), picture)
    return picture


def sea(rng: np.random.Generator) -> Floats:
    """A little sky and waves down to the bottom."""
    horizon = rng.uniform(26, 38)
    sky = fade((150, 210, 245), (230, 244, 250), 0, horizon)
    picture = where(ROWS > horizon, fade((20, 96, 170), (14, 60, 128), horizon, SIZE), sky)
    for k in range(5):
        crest = horizon + 10 + k * 18 + (2 + k) * np.sin(COLUMNS / (7 + 2 * k) + rng.uniform(0, 6.3))
        picture = where(np.abs(ROWS - crest) < 1.4, (120, 186, 226), picture)
    return picture


def night(rng: np.random.Generator) -> Floats:
    """Dark sky with a moon and stars over dark land."""
    picture = fade((10, 14, 44), (40, 48, 96), 0, 90)
    for x, y in zip(rng.uniform(0, SIZE, 26), rng.uniform(0, 80, 26), strict=True):
        picture = where(disc(x, y, 1.1), (250, 246, 214), picture)
    x = rng.choice((20.0, 108.0))
    picture = where(disc(x, 20, 10), (250, 240, 200), picture)
    return where(ROWS > ridge(rng, 92, 5), fade((22, 34, 40), (12, 20, 26), 88, SIZE), picture)


def space(rng: np.random.Generator) -> Floats:
    """Black sky, stars, one planet."""
    picture = fade((14, 6, 30), (4, 2, 12))
    for x, y in rng.uniform(0, SIZE, (44, 2)):
        picture = where(disc(x, y, rng.choice((0.9, 1.3))), (232, 232, 255), picture)
    x, y = rng.choice(((16.0, 18.0), (112.0, 18.0), (112.0, 112.0), (16.0, 112.0)))
    planet = np.clip(((COLUMNS - x) + (ROWS - y)) / 40 + 0.5, 0, 1)[..., None]
    tint = rgb(((210, 110, 70), (96, 150, 220), (170, 130, 210))[rng.integers(3)])
    return where(disc(x, y, 15), tint * (1 - 0.6 * planet), picture)


def city(rng: np.random.Generator) -> Floats:
    """Houses with lit windows behind a street."""
    picture = fade((170, 200, 226), (226, 232, 236), 0, 84)
    left = 0
    while left < SIZE:
        width, top = int(rng.integers(16, 27)), int(rng.integers(16, 56))
        tone = np.float32(rng.choice(((126, 136, 156), (150, 126, 118), (104, 116, 138), (170, 158, 142))))
        picture[top:88, left : left + width] = tone
        for y in range(top + 4, 82, 9):
            for x in range(left + 3, min(left + width, SIZE) - 4, 7):
                picture[y : y + 5, x : x + 4] = (248, 232, 160) if rng.random() < 0.6 else tone * 0.7
        left += width
    picture[88:96] = (176, 176, 176)
    picture[96:] = (92, 94, 100)
    for x in range(int(rng.integers(0, 24)), SIZE, 24):
        picture[110:113, x : x + 12] = (230, 226, 200)
    return picture


def forest(rng: np.random.Generator) -> Floats:
    """Trunks and dark leaves over mossy ground."""
    picture = fade((150, 196, 150), (96, 150, 100), 0, 88)
    for x in np.arange(6, SIZE, 18) + rng.uniform(-4, 4, 7):
        picture = where((np.abs(COLUMNS - x) < rng.uniform(2.4, 4.4)) & (ROWS < 92), (92, 70, 50), picture)
    picture = where(ROWS < ridge(rng, 24, 6, 5), (38, 92, 50), picture)
    return where(ROWS > ridge(rng, 88, 3), fade((78, 112, 52), (54, 84, 38), 84, SIZE), picture)


def room(rng: np.random.Generator) -> Floats:
    """A wall with a window, a skirting board, a wooden floor."""
    wall = ((236, 222, 196), (204, 218, 228), (226, 206, 206))[rng.integers(3)]
    picture = fade(wall, wall)
    left = int(rng.choice((10, 82)))
    picture[12:48, left : left + 36] = (250, 250, 248)
    picture[15:45, left + 3 : left + 33] = (160, 210, 246)
    picture[28:31, left : left + 36] = picture[12:48, left + 17 : left + 20] = (250, 250, 248)
    picture[86:90] = (246, 244, 240)
    floor = fade((186, 134, 84), (160, 110, 64), 90, SIZE)
    picture[90:] = floor[90:]
    for y in (98, 108, 119):
        picture[y : y + 1] = (138, 94, 54)
    return picture


def plain(colour: Colour) -> Painter:
    """One colour, a little darker towards the bottom."""

    def paint(rng: np.random.Generator) -> Floats:
        tint = np.clip(rgb(colour) + rng.uniform(-6, 6), 0, 255)
        return np.asarray(fade((255, 255, 255), (238, 238, 238)) / 255 * tint, np.float32)

    return paint


PAINTERS: dict[str, Painter] = {
    "desert": desert,
    "beach": beach,
    "meadow": meadow,
    "snow": snow,
    "sea": sea,
    "night": night,
    "space": space,
    "city": city,
    "forest": forest,
    "room": room,
    "white": plain((250, 250, 250)),
    "grey": plain((150, 152, 156)),
    "blue": plain((150, 190, 240)),
    "green": plain((160, 214, 160)),
    "pink": plain((246, 190, 206)),
    "yellow": plain((248, 226, 120)),
    "red": plain((214, 84, 80)),
    "black": plain((30, 30, 34)),
    "mountains": landscapes.mountains,
    "lake": landscapes.lake,
    "farm": landscapes.farm,
    "jungle": landscapes.jungle,
    "underwater": landscapes.underwater,
    "sky": landscapes.sky,
    "sunset": landscapes.sunset,
    "rain": landscapes.rain,
    "moon": landscapes.moon,
    "meeting": landscapes.meeting,
}
DRY: dict[str, Painter] = {"snow": white_land, "rain": landscapes.wet_land}  # the places that lack their weather
GROUND: dict[str, int] = {  # place -> the highest row of its ground, px; the other places have none
    "desert": 74, "beach": 76, "meadow": 72, "snow": 70, "night": 94, "city": 88, "forest": 88, "room": 90,
    "mountains": 86, "lake": 96, "farm": 82, "jungle": 92, "sunset": 84, "rain": 84, "moon": 78, "meeting": 92,
}  # fmt: skip
FLOATING = frozenset(PAINTERS.keys() - GROUND.keys())  # places where things float


def _painting(painter: Painter, place: str, variant: int) -> Bytes:
    """What the painter of a place paints as its `variant`-th: (SIZE, SIZE, 3), read-only."""
    number = list(PAINTERS).index(place)
    picture = np.clip(painter(np.random.default_rng([number, variant])), 0, 255).astype(np.uint8)
    picture.flags.writeable = False
    return picture


@cache
def painted(place: str, variant: int) -> Bytes:
    """The `variant`-th painting of `place`: (SIZE, SIZE, 3), read-only."""
    return _painting(PAINTERS[place], place, variant)


@cache
def dry(place: str, variant: int) -> Bytes:
    """The `variant`-th painting of `place` without weather: (SIZE, SIZE, 3), read-only."""
    return _painting(DRY[place], place, variant) if place in DRY else painted(place, variant)
