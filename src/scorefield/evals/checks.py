"""Unrecognisable pictures, damaged in ways that no judge is trained on."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from scorefield.data.arrays import Bytes
from scorefield.data.layout import Item
from scorefield.data.render import drawn, render
from scorefield.data.scenes import Scene
from scorefield.data.sprites import sprite
from scorefield.data.things import NAMES
from scorefield.evals.adherence import Draw, renders

CELL = 8  # px: the side of the cells in which pixels are shuffled
BLUR = 3.0  # px: the deviation of the blur
OFFSET = 59  # from a thing to the one it is mixed with, in the order of the things


def shuffled(scenes: Sequence[Scene], seed: int = 0) -> Tensor:
    """Renders (B, 3, H, W) with the pixels shuffled within cells of 8 x 8."""
    pictures = renders(scenes)
    count, channels, height, width = pictures.shape
    shape = (count, channels, height // CELL, CELL, width // CELL, CELL)
    cells = pictures.reshape(shape).transpose(3, 4).reshape(count, channels, -1, CELL * CELL)
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(count, 1, cells.shape[2], CELL * CELL, generator=generator).argsort(-1).expand_as(cells)
    mixed = cells.gather(-1, order).reshape(count, channels, height // CELL, width // CELL, CELL, CELL)
    return mixed.transpose(3, 4).reshape(pictures.shape)


def blurred(scenes: Sequence[Scene], seed: int = 0) -> Tensor:
    """Renders (B, 3, H, W) with a Gaussian blur of 3 px."""
    blur = ImageFilter.GaussianBlur(BLUR)
    pictures = [np.asarray(Image.fromarray(render(one)).filter(blur)) for one in scenes]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def _mixed(item: Item) -> Bytes:
    """The upper half of the item's sprite on the lower half of another thing's."""
    own = drawn(item)
    other = sprite(NAMES[(NAMES.index(item.thing) + OFFSET) % len(NAMES)], item.size)
    fitted = np.asarray(Image.fromarray(other).resize((own.shape[1], own.shape[0]), Image.Resampling.LANCZOS))
    return np.concatenate([own[: len(own) // 2], fitted[len(own) // 2 :]])


def hybrids(scenes: Sequence[Scene], seed: int = 0) -> Tensor:
    """Renders (B, 3, H, W) in which half of each thing is another thing."""
    return torch.from_numpy(np.stack([render(one, _mixed) for one in scenes])).permute(0, 3, 1, 2)


def _left(item: Item) -> Bytes:
    """The item's sprite without its right half."""
    half = drawn(item).copy()
    half[:, half.shape[1] // 2 :] = 0
    return half


def halves(scenes: Sequence[Scene], seed: int = 0) -> Tensor:
    """Renders (B, 3, H, W) in which each thing lacks its right half."""
    return torch.from_numpy(np.stack([render(one, _left) for one in scenes])).permute(0, 3, 1, 2)


CHECKS: Mapping[str, Draw] = {
    "true": renders, "shuffled": shuffled, "blurred": blurred, "hybrids": hybrids, "halves": halves,
}  # fmt: skip
