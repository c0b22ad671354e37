"""Painters of further places: landscapes, weather, water, and a meeting."""

import numpy as np

from scorefield.data.arrays import Floats
from scorefield.data.paint import COLUMNS, ROWS, SIZE, disc, fade, rgb, ridge, where


def mountains(rng: np.random.Generator) -> Floats:
    """Snow-capped peaks behind a green slope."""
    picture = fade((136, 190, 240), (226, 238, 248), 0, 70)
    for x in np.array((14.0, 58.0, 104.0)) + rng.uniform(-12, 12, 3):
        top, steep = rng.uniform(14, 34), rng.uniform(1.0, 1.5)
        peak = ROWS > top + np.abs(COLUMNS - x) * steep
        picture = where(peak, fade((126, 134, 152), (96, 106, 126), 20, 90), picture)
        cap = peak & (ROWS < top + 14 + 3 * np.sin(COLUMNS * 0.9 + x))
        picture = where(cap, (248, 250, 255), picture)
    return where(ROWS > ridge(rng, 82, 5), fade((120, 172, 96), (82, 132, 66), 76, SIZE), picture)


def lake(rng: np.random.Generator) -> Floats:
    """Still water between dark firs and a green shore."""
    picture = fade((150, 204, 244), (224, 240, 250), 0, 44)
    shore = ridge(rng, 40, 4, 6) + 4 * np.abs(np.sin(np.arange(SIZE) * rng.uniform(0.35, 0.5)))
    picture = where(ROWS > shore, (58, 104, 78), picture)
    picture = where(ROWS > 54, fade((110, 176, 214), (60, 128, 182), 54, 100), picture)
    for y in rng.uniform(58, 88, 7):
        x = rng.uniform(0, 100)
        picture = where((np.abs(ROWS - y) < 0.8) & (COLUMNS > x) & (COLUMNS < x + 26), (188, 222, 240), picture)
    return where(ROWS > ridge(rng, 94, 4), fade((132, 188, 96), (92, 150, 66), 90, SIZE), picture)


def farm(rng: np.random.Generator) -> Floats:
    """A red barn behind a fence and a ploughed field."""
    picture = fade((136, 200, 246), (228, 242, 250), 0, 70)
    picture = where(ROWS > ridge(rng, 66, 4), fade((150, 202, 104), (122, 184, 84), 60, 84), picture)
    left = int(rng.integers(6, 76))
    barn = (np.abs(COLUMNS - left - 22) < 20) & (ROWS > 44) & (ROWS < 74)
    roof = (ROWS > 28 + np.abs(COLUMNS - left - 22) * 0.7) & (ROWS <= 46) & (np.abs(COLUMNS - left - 22) < 24)
    picture = where(barn, (186, 62, 52), picture)
    picture = where(roof, (120, 72, 60), picture)
    picture[56:74, left + 16 : left + 28] = (246, 240, 230)
    furrows = fade((176, 132, 84), (146, 104, 62), 80, SIZE)
    picture = where(ROWS > 80, furrows, picture)
    for y in (88, 98, 110, 122):
        picture = where(np.abs(ROWS - y - np.sin(COLUMNS * 0.05 + y)) < 0.9, (130, 90, 52), picture)
    for x in range(int(rng.integers(0, 14)), SIZE, 14):
        picture[72:84, x : x + 2] = (240, 236, 226)
    picture[75:77] = (240, 236, 226)
    return picture


def jungle(rng: np.random.Generator) -> Floats:
    """Lianas and broad leaves in green dusk."""
    picture = fade((56, 118, 74), (30, 84, 52), 0, 96)
    for x in rng.uniform(0, SIZE, 8):
        swing = 4 * np.sin(ROWS / rng.uniform(12, 22) + x)
        picture = where((np.abs(COLUMNS - x - swing) < 1.4) & (ROWS < rng.uniform(50, 92)), (34, 62, 30), picture)
    for x, y in zip(rng.uniform(0, SIZE, 18), rng.uniform(-4, 30, 18), strict=True):
        leaf = ((COLUMNS - x) / 15) ** 2 + ((ROWS - y - 0.35 * np.abs(COLUMNS - x)) / 5) ** 2 < 1
        green = rgb(((74, 156, 78), (50, 130, 62), (98, 176, 84))[rng.integers(3)])
        picture = where(leaf, green, picture)
    return where(ROWS > ridge(rng, 92, 4), fade((92, 74, 44), (64, 52, 30), 88, SIZE), picture)


def underwater(rng: np.random.Generator) -> Floats:
    """Blue depth with rays of light, bubbles, and weed on the sand."""
    picture = fade((70, 178, 218), (14, 62, 128), 0, 116)
    for x in rng.uniform(0, SIZE, 4):
        ray = np.abs(COLUMNS - x - ROWS * 0.35) < 4 + ROWS * 0.05
        picture = where(ray & (ROWS < 90), picture * 0.86 + 30, picture)
    for x in rng.uniform(4, 124, 6):
        weed = np.abs(COLUMNS - x - 3 * np.sin(ROWS / 5 + x)) < 1.8
        picture = where(weed & (ROWS > rng.uniform(84, 106)), (40, 130, 90), picture)
    for x, y in rng.uniform(4, 110, (9, 2)):
        picture = where(disc(x, y, 2.2) & ~disc(x, y, 1.3), (190, 232, 246), picture)
    return where(ROWS > ridge(rng, 118, 2), (222, 204, 150), picture)


def sky(rng: np.random.Generator) -> Floats:
    """Nothing but blue air and clouds."""
    picture = fade((84, 164, 240), (190, 224, 250))
    for _ in range(5):
        x, y, size = rng.uniform(0, SIZE), rng.uniform(6, 122), rng.uniform(5, 9)
        for step in (-1.1, 0.0, 1.1):
            picture = where(disc(x + step * size, y + abs(step) * 2, size), (246, 250, 255), picture)
    return picture


def sunset(rng: np.random.Generator) -> Floats:
    """An orange sky with the sun half down behind dark land."""
    picture = fade((70, 56, 120), (250, 150, 70), 0, 80)
    picture = where(disc(rng.uniform(24, 104), rng.uniform(66, 74), 13), (255, 222, 130), picture)
    return where(ROWS > ridge(rng, 82, 4), fade((86, 56, 66), (52, 36, 50), 78, SIZE), picture)


def wet_land(rng: np.random.Generator) -> Floats:
    """Grey clouds, puddles."""
    picture = fade((104, 114, 130), (168, 178, 190), 0, 84)
    for x in np.linspace(0, SIZE, 8) + rng.uniform(-6, 6, 8):
        picture = where(disc(x, rng.uniform(2, 10), rng.uniform(10, 15)), (84, 92, 108), picture)
    picture = where(ROWS > ridge(rng, 84, 3), fade((96, 124, 92), (70, 96, 70), 80, SIZE), picture)
    for x in rng.uniform(10, 118, 3):
        y = rng.uniform(94, 122)
        picture = where(((COLUMNS - x) / 15) ** 2 + ((ROWS - y) / 3) ** 2 < 1, (140, 162, 184), picture)
    return picture


def rain(rng: np.random.Generator) -> Floats:
    """Wet land, slanting drops."""
    picture = wet_land(rng)
    for x, y in zip(rng.uniform(0, 140, 34), rng.uniform(14, 120, 34), strict=True):
        drop = (np.abs(COLUMNS - x + (ROWS - y) * 0.35) < 0.7) & (ROWS > y) & (ROWS < y + 7)
        picture = where(drop, (206, 220, 236), picture)
    return picture


def moon(rng: np.random.Generator) -> Floats:
    """Grey dust and craters under a black sky, the earth above."""
    picture = fade((6, 6, 14), (16, 16, 28), 0, 76)
    for x, y in zip(rng.uniform(0, SIZE, 24), rng.uniform(0, 70, 24), strict=True):
        picture = where(disc(x, y, 0.9), (228, 228, 240), picture)
    x = float(rng.choice((20.0, 106.0)))
    picture = where(disc(x, 20, 11), (70, 130, 210), picture)
    picture = where(disc(x + 3, 18, 6) & disc(x, 20, 11), (90, 170, 100), picture)
    picture = where(ROWS > ridge(rng, 76, 4), fade((196, 196, 200), (140, 140, 148), 72, SIZE), picture)
    for _ in range(5):
        x, y, size = rng.uniform(4, 124), rng.uniform(88, 122), rng.uniform(5, 11)
        picture = where(((COLUMNS - x) / size) ** 2 + ((ROWS - y) / (size * 0.36)) ** 2 < 1, (150, 150, 158), picture)
    return picture


def meeting(rng: np.random.Generator) -> Floats:
    """A board with a chart on the wall, and a long table."""
    wall = ((226, 230, 234), (214, 224, 220), (234, 226, 216))[rng.integers(3)]
    picture = fade(wall, wall)
    left = int(rng.integers(14, 54))
    picture[10:54, left : left + 60] = (120, 126, 134)
    picture[13:51, left + 3 : left + 57] = (252, 252, 252)
    for k, height in enumerate(rng.integers(8, 30, 5)):
        tone = ((70, 130, 210), (236, 150, 60), (90, 180, 110), (200, 80, 90), (150, 110, 190))[k]
        picture[48 - height : 48, left + 8 + 10 * k : left + 14 + 10 * k] = tone
    picture = where(ROWS > 92, fade((150, 106, 70), (118, 80, 50), 92, SIZE), picture)
    return where((ROWS > 92) & (ROWS < 95), (186, 140, 98), picture)
