"""How well things are drawn: the similarity of each to its true sprite at the best-fitting place and size."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield.data.arrays import Bytes
from scorefield.data.asked import Task
from scorefield.data.layout import Item
from scorefield.data.scenes import Scene
from scorefield.data.sprites import sprite
from scorefield.evals.adherence import Askable, Draw, anything, prompts

SIZES = range(76, 133, 8)  # percent of the scene's size to try
STEP = 2  # px: sizes are multiples of it
INSIDE = 0.85  # share of a sprite that must be inside the picture
OPAQUE = 250  # of 255: the background shows through pixels with less alpha
ROOM = 128  # px beyond the picture, so that no sprite wraps around
MOST_DB = 40.0  # of a thing that equals its sprite exactly


class Fit(NamedTuple):
    """The best fit of a sprite: its centre and longer side in px, and its PSNR there in dB."""

    x: int
    y: int
    size: int
    db: float


class Drawn(NamedTuple):
    """One thing of a picture with its fit."""

    scene: Scene
    thing: str
    fit: Fit


class Plane:
    """A picture (3, H, W) uint8 in which sprites are searched by convolution."""

    def __init__(self, picture: Tensor) -> None:
        self.sides = picture.shape[-2:]
        self.shape = tuple(side + ROOM for side in self.sides)
        pixels = picture.float() - 128
        layers = torch.cat([pixels, pixels.square().sum(0, keepdim=True), torch.ones_like(pixels[:1])])
        self.layers = torch.fft.rfft2(layers, s=self.shape)  # colours, the sum of their squares, a mask of the picture

    def best(self, art: Bytes, size: int) -> Fit:
        """The place where the opaque part of `art` (h, w, 4) has the highest PSNR."""
        whole = torch.from_numpy(art.astype(np.float32))
        mask = (whole[..., 3] >= OPAQUE).float()
        colours = (whole[..., :3].movedim(-1, 0) - 128) * mask
        kernels = torch.cat([-2 * colours, mask[None], colours.square().sum(0, keepdim=True), mask[None]])
        spectra = torch.fft.rfft2(kernels, s=self.shape).conj()
        products = torch.stack([(self.layers * spectra[:5]).sum(0), self.layers[4] * spectra[5]])
        error, there = torch.fft.irfft2(products, s=self.shape)
        mean = torch.where(there >= INSIDE * mask.sum(), error / (3 * there.clamp(min=1)), torch.inf)
        place = divmod(int(mean.argmin()), self.shape[1])
        top, left = (at if at < side else at - side - ROOM for at, side in zip(place, self.sides, strict=True))
        db = -10 * math.log10(max(float(mean.min()), 255**2 / 10 ** (MOST_DB / 10)) / 255**2)
        return Fit(left + art.shape[1] // 2, top + art.shape[0] // 2, size, db)


def fit(plane: Plane, item: Item) -> Fit:
    """The best fit of an item as it looks and is turned, anywhere in a picture and near its intended size."""
    sizes = sorted({STEP * round(item.size * percent / 100 / STEP) for percent in SIZES})
    looks = ((size, sprite(item.thing, size, item.colour, item.worn, item.flip, item.turn)) for size in sizes)
    fits = [plane.best(look, size) for size, look in looks]
    return max(fits, key=lambda one: one.db)


def drawn(
    draw: Draw, tasks: Sequence[Task], *, askable: Askable = anything, count: int = 50, seed: int = 0, batch: int = 32
) -> Iterator[Drawn]:
    """Yield the fit of every thing that the prompts name, one of each kind per picture."""
    scenes = [one for task in tasks for one in prompts(task, count, askable)]
    for start in range(0, len(scenes), batch):
        some = scenes[start : start + batch]
        for one, picture in zip(some, draw(some, seed + start), strict=True):
            plane = Plane(picture)
            for noun in one.nouns:
                item = next(item for item in one.items if item.thing == noun.thing)
                yield Drawn(one, noun.thing, fit(plane, item))


def scores(results: Iterable[Drawn]) -> dict[str, float]:
    """The mean PSNR in dB of the things of every task, and `overall`."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in results:
        found[one.scene.task].append(one.fit.db)
        found["overall"].append(one.fit.db)
    found["overall"] = found.pop("overall", [])  # last
    return {task: sum(each) / len(each) for task, each in found.items()}
