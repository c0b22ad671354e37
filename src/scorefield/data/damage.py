"""Ways to damage a picture or a sprite, so that its shapes no longer tell what it shows."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from scorefield.data.arrays import Bytes, Floats, Mask

Damage = Callable[[Bytes, np.random.Generator], Bytes]  # (h, w, 3 or 4) -> the same size

LEAST_TILT = 0.26  # radians: cuts closer to level or upright are reserved for checks


def _moved(picture: Bytes, down: Floats, right: Floats) -> Bytes:
    """Every pixel taken from `down` and `right` px away, or from the picture's edge."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    there = np.clip(np.rint(rows + down), 0, height - 1), np.clip(np.rint(columns + right), 0, width - 1)
    return np.asarray(picture[there[0].astype(int), there[1].astype(int)])


def scattered(picture: Bytes, rng: np.random.Generator) -> Bytes:
    """Every pixel taken from a random place nearby."""
    reach = rng.uniform(2.0, 5.0)
    down, right = rng.normal(0, reach, (2, *picture.shape[:2])).astype(np.float32)
    return _moved(picture, down, right)


def _wave(length: int, rng: np.random.Generator, waves: int) -> Floats:
    """A smooth random curve with a mean square of about 1."""
    x = np.arange(length) / max(length, 24)
    parts = [np.sin(2 * np.pi * (rng.uniform(0.6, 2.2) * k * x + rng.random())) for k in range(1, waves + 1)]
    return np.asarray(np.sum(parts, 0) * np.sqrt(2 / waves), np.float32)


def waved(picture: Bytes, rng: np.random.Generator) -> Bytes:
    """Bent both ways, as in a wavy mirror."""
    height, width = picture.shape[:2]
    swing = rng.uniform(0.07, 0.14) * min(max(height, width), 80)
    down = swing * _wave(width, rng, 3)[None, :] + 0.4 * swing * _wave(height, rng, 3)[:, None]
    right = swing * _wave(height, rng, 3)[:, None] + 0.4 * swing * _wave(width, rng, 3)[None, :]
    return _moved(picture, down, right)


def melted(picture: Bytes, rng: np.random.Generator) -> Bytes:
    """Run down in streaks: every column is stretched by a different length."""
    height, width = picture.shape[:2]
    stretch = 1 + rng.uniform(0.5, 1.1) * np.abs(_wave(width, rng, 4))
    rows = np.arange(height, dtype=np.float32)[:, None]
    down = np.asarray(rows / stretch[None, :] - rows, np.float32)
    return _moved(picture, down, np.zeros((height, width), np.float32))


def tiled(picture: Bytes, rng: np.random.Generator) -> Bytes:
    """Cut into square tiles in random order."""
    height, width = picture.shape[:2]
    side = int(rng.integers(5, max(7, min(height, width, 48) // 3 + 1)))
    down, right = height // side, width // side
    if down * right < 4:
        return scattered(picture, rng)
    inside = picture[: down * side, : right * side].reshape(down, side, right, side, -1)
    tiles = inside.swapaxes(1, 2).reshape(down * right, side, side, -1)
    mixed = tiles[rng.permutation(len(tiles))].reshape(down, right, side, side, -1).swapaxes(1, 2)
    out = picture.copy()
    out[: down * side, : right * side] = mixed.reshape(down * side, right * side, -1)
    return out


def smeared(picture: Bytes, rng: np.random.Generator) -> Bytes:
    """Reduced to so few pixels that only patches of colour are left."""
    image = Image.fromarray(picture)
    scale = rng.uniform(5.0, 9.0)
    few = image.resize((max(2, round(image.width / scale)), max(2, round(image.height / scale))), Image.Resampling.BOX)
    return np.asarray(few.resize(image.size, Image.Resampling.BILINEAR))


def streaked(picture: Bytes, rng: np.random.Generator) -> Bytes:
    """Blurred in one direction, like something that moves fast."""
    length, slope = int(rng.integers(8, 16)), rng.uniform(-1, 1)
    steps = [(k - length / 2) * np.array((slope, 1.0)) / np.hypot(slope, 1) for k in range(length)]
    if rng.random() < 0.5:
        steps = [step[::-1] for step in steps]
    nothing = np.zeros(picture.shape[:2], np.float32)
    total = sum(_moved(picture, nothing + step[0], nothing + step[1]).astype(np.float32) for step in steps)
    return np.asarray(total / length, np.float32).astype(np.uint8)


def _side(shape: tuple[int, ...], rng: np.random.Generator, off: float) -> Mask:
    """One side of a slanting cut near the middle, at most `off` away from it, as a share of the size."""
    height, width = shape[:2]
    angle = rng.uniform(LEAST_TILT, np.pi / 2 - LEAST_TILT) + np.pi / 2 * rng.integers(4)
    rows, columns = np.mgrid[0:height, 0:width]
    along = (columns / width - 0.5) * np.cos(angle) + (rows / height - 0.5) * np.sin(angle)
    return np.asarray(along > rng.uniform(-off, off))


def halved(sprite: Bytes, rng: np.random.Generator) -> Bytes:
    """A sprite (h, w, 4) without about half of it."""
    out = sprite.copy()
    out[_side(sprite.shape, rng, 0.08), 3] = 0
    return out


def hybrid(sprite: Bytes, other: Bytes, rng: np.random.Generator) -> Bytes:
    """A sprite (h, w, 4) with half of another one, or blended with it."""
    height, width = sprite.shape[:2]
    fitted = np.asarray(Image.fromarray(other).resize((width, height), Image.Resampling.LANCZOS))
    if rng.random() < 0.3:
        return np.asarray((sprite.astype(np.uint16) + fitted) // 2, np.uint8)
    return np.where(_side(sprite.shape, rng, 0.1)[..., None], fitted, sprite)


# These leave everything about where it was; the first is the hardest to tell from the truth, so it is listed twice.
IN_PLACE: tuple[Damage, ...] = (scattered, scattered, waved, smeared, streaked)
DISPLACED: tuple[Damage, ...] = (melted, tiled)
OF_SPRITES: tuple[Damage, ...] = (*IN_PLACE, *DISPLACED, halved)


def broken(sprite: Bytes, other: Bytes, rng: np.random.Generator) -> Bytes:
    """A sprite (h, w, 4) damaged in one way, or made a hybrid with `other`."""
    way = int(rng.integers(len(OF_SPRITES) + 2))
    return OF_SPRITES[way](sprite, rng) if way < len(OF_SPRITES) else hybrid(sprite, other, rng)
