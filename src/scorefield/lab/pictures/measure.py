"""Measurements on pictures: sharpness, difference, share of a thing, and rank correlation.

Pictures are (B, 3, H, W) uint8.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scorefield.data.captions import Noun
from scorefield.data.scenes import Scene
from scorefield.evals.judge import Seen

REACH = 52  # px: half the side of the box around a thing in which its colour is counted; the biggest are 92 px long
GREENER = 24  # of 255: excess of green over red and blue in a tree's crown; sand and sky stay below 15


def sharpness(pictures: Tensor) -> Tensor:
    """The mean squared difference of brightness between neighbouring pixels (B,); white is 1."""
    brightness = pictures.float().mean(1) / 255
    return brightness.diff(dim=1).square().mean((1, 2)) + brightness.diff(dim=2).square().mean((1, 2))


def psnr(pictures: Tensor, true: Tensor) -> Tensor:
    """The peak signal-to-noise ratio (B,) in dB, at most 99."""
    error = (pictures.float() - true.float()).square().flatten(1).mean(1)
    return (10 * torch.log10(255**2 / error.clamp(min=1e-12))).clamp(max=99)


def shows(seen: Seen, thing: str) -> bool:
    """Whether the judge found that thing."""
    return any(one.thing == thing for one in seen.found)


def tree_areas(pictures: Tensor, seen: Sequence[Seen]) -> Tensor:
    """The share of each picture (B,) that is green and near a tree that the judge finds; 0 if it finds none."""
    red, green, blue = pictures.int().unbind(1)
    crowns = green - torch.maximum(red, blue) > GREENER
    areas = []
    for crown, one in zip(crowns, seen, strict=True):
        near = torch.zeros_like(crown)
        for tree in one.found:
            if tree.thing == "tree":
                left, top = max(round(tree.x) - REACH, 0), max(round(tree.y) - REACH, 0)
                near[top : round(tree.y) + REACH, left : round(tree.x) + REACH] = True
        areas.append((crown & near).float().mean())
    return torch.stack(areas)


def single(thing: str, place: str) -> Scene:
    """The scene that a prompt for one thing in one place describes, for the verdict on its pictures."""
    return Scene(
        task="single", caption="", nouns=(Noun(thing=thing),), relation=None, place=place, place_said=True, style=None,
        variant=0, items=(),
    )  # fmt: skip


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation: 1 if b always rises with a, -1 if it always falls; 0 if either is constant."""
    ranks = [_ranks(values) - (len(values) - 1) / 2 for values in (a, b)]
    size = float(ranks[0].norm() * ranks[1].norm())
    return float(ranks[0] @ ranks[1]) / size if size else 0.0


def _ranks(values: Sequence[float]) -> Tensor:
    """The rank of each value from 0; equal values share the mean rank."""
    x = torch.tensor(values, dtype=torch.float64)
    return (x[:, None] > x).sum(1) + ((x[:, None] == x).sum(1) - 1) / 2
