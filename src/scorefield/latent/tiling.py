"""Encode and decode in bounded memory: large pictures in overlapping tiles, blended linearly, many pictures in parts.

A tile is computed without its surroundings. Published autoencoders have group norms, which take their mean and
deviation from only the tile, so a tile differs slightly in tone from the same part of a picture decoded whole. The
embedded model's autoencoder has none; there only pixels near the edge of a tile differ.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import torch
from torch import Tensor

from scorefield.core.presence import present

Spans = list[tuple[int, int]]  # starts and ends of tiles along a side, in latents
Tile = int | Literal["auto", "off"]  # the side of a tile in pixels; auto: whole up to WHOLE pixels, else SIDE

SIDE = 512  # px
WHOLE = 1024 * 1024  # px
OVERLAP = 128  # px that a tile shares with each neighbour; at most half a tile


class Sides(Protocol):
    """A codec that tiling can run."""

    @property
    def size_factor(self) -> int: ...
    def encode(self, pixels: Tensor) -> Tensor: ...
    def decode(self, x0: Tensor) -> Tensor: ...


def decode(codec: Sides, x0: Tensor, tile: Tile = "auto") -> Tensor:
    """codec.decode of `x0` (B, C, H, W), in tiles if the picture is large or `tile` says so."""
    return _mapped(codec, codec.decode, x0, 1, codec.size_factor, tile)


def encode(codec: Sides, pixels: Tensor, tile: Tile = "auto") -> Tensor:
    """codec.encode of `pixels` (B, 3, H, W), in tiles if the picture is large or `tile` says so."""
    return _mapped(codec, codec.encode, pixels, codec.size_factor, 1, tile)


def _mapped(
    codec: Sides, run: Callable[[Tensor], Tensor], x: Tensor, before: int, after: int, tile: Tile
) -> Tensor:  # fmt: skip
    """`run` over `x` (B, C, H, W); one latent is `before` values wide in `x` and `after` values in the result.

    All parts are run in one turn of the codec's network.
    """
    height, width = (side // before for side in x.shape[-2:])
    factor = max(before, after)
    tiles = spans(height, width, factor, tile)
    parts = torch.split(x, max(1, WHOLE // (height * width * factor**2)) if tiles is None else 1)
    if tiles is None and len(parts) == 1:
        return run(x)
    with present(codec):
        return torch.cat([run(one) if tiles is None else blended(run, one, *tiles, before, after) for one in parts])


def spans(height: int, width: int, factor: int, tile: Tile) -> tuple[Spans, Spans] | None:
    """The rows and columns of the tiles of `height` x `width` latents, each `factor` pixels wide; None for no tiles."""
    if tile == "off" or (tile == "auto" and height * width * factor**2 <= WHOLE):
        return None
    side = max(1, (SIDE if tile == "auto" else tile) // factor)
    overlap = min(OVERLAP // factor, side // 2)
    return windows(height, side, overlap), windows(width, side, overlap)


def windows(length: int, side: int, overlap: int) -> Spans:
    """The fewest spans of at most `side` that cover `length` evenly, overlapping by at least `overlap`."""
    count = 1 + max(0, math.ceil((length - side) / (side - overlap)))
    starts = [round(k * (length - side) / (count - 1)) for k in range(count)] if count > 1 else [0]
    return [(start, min(start + side, length)) for start in starts]


def blended(run: Callable[[Tensor], Tensor], x: Tensor, rows: Spans, columns: Spans, before: int, after: int) -> Tensor:
    """`run` over one picture or film (1, ..., H, W), tile by tile: the weighted mean where tiles overlap."""
    total = weight = torch.zeros((), device=x.device)
    for (top, bottom), down in _ramps(rows, after):
        for (left, right), along in _ramps(columns, after):
            tile = run(x[..., top * before : bottom * before, left * before : right * before])
            share = (down[:, None] * along).to(tile)
            if total.ndim == 0:
                total = tile.new_zeros(*tile.shape[:-2], rows[-1][1] * after, columns[-1][1] * after)
                weight = torch.zeros_like(total[(0,) * (total.ndim - 2)])
            place = (..., slice(top * after, bottom * after), slice(left * after, right * after))
            total[place] += share * tile
            weight[place] += share
    return total.div_(weight)


def _ramps(spans: Spans, unit: int) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """Each span with its weights (length * unit,), which rise and fall linearly over the middle half of an overlap.

    The outer quarter of an overlap has weight 0, since a tile's edge suffers most from the missing surroundings.
    """
    for k, (start, end) in enumerate(spans):
        place = torch.arange(start * unit, end * unit, dtype=torch.float32, device="cpu") + 0.5
        weights = torch.ones_like(place)
        if k:
            weights = _rising((place - start * unit) / (unit * (spans[k - 1][1] - start)))
        if k < len(spans) - 1:
            weights = weights * _rising((end * unit - place) / (unit * (end - spans[k + 1][0])))
        yield (start, end), weights


def _rising(share: Tensor) -> Tensor:
    return (2 * share - 0.5).clamp(0, 1)
