"""Large pictures tile by tile: the seams are measured against the picture decoded whole."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tests import toy
from tests.loading import load
from torch import Tensor

from scorefield.api import Pipeline
from scorefield.errors import RequestError
from scorefield.latent import tiling
from scorefield.latent.kl_codec import KlCodec
from scorefield.latent.tiling import windows
from scorefield.nets.kl import Kl, KlConfig


class Repeated:
    """A codec of factor 8 without any reach: a latent is the mean of its pixels."""

    size_factor = 8

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def encode(self, pixels: Tensor) -> Tensor:
        self.seen.append(tuple(pixels.shape))
        return torch.nn.functional.avg_pool2d(pixels, 8)

    def decode(self, x0: Tensor) -> Tensor:
        self.seen.append(tuple(x0.shape))
        return x0.repeat_interleave(8, -1).repeat_interleave(8, -2)


def test_windows_cover_the_length_evenly_with_the_overlap_and_no_more_of_them_than_needed() -> None:
    for length in range(1, 200):
        for side, overlap in ((8, 4), (16, 8), (32, 16), (64, 16)):
            spans = windows(length, side, overlap)
            assert spans[0][0] == 0
            assert spans[-1][1] == length
            assert all(end - start == min(side, length) for start, end in spans)
            assert all(one[1] - other[0] >= overlap for one, other in pairwise(spans))
            steps = [other[0] - one[0] for one, other in pairwise(spans)]
            assert max(steps, default=0) - min(steps, default=0) <= 1
            assert len(spans) == 1 or side + (len(spans) - 2) * (side - overlap) < length


@pytest.mark.parametrize("tile", [64, 72, 128, 256, 512])
@pytest.mark.parametrize("size", [(64, 520), (208, 344), (328, 264)])
def test_tiles_of_a_codec_without_reach_are_the_whole(tile: int, size: tuple[int, int]) -> None:
    height, width = size
    x0 = torch.randn(2, 4, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    codec = Repeated()
    torch.testing.assert_close(tiling.decode(codec, x0, tile), codec.decode(x0), rtol=0, atol=1e-5)
    pixels = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tiling.encode(codec, pixels, tile), codec.encode(pixels), rtol=0, atol=1e-5)


def test_no_call_sees_more_than_a_tile_of_one_picture() -> None:
    codec = Repeated()
    tiling.decode(codec, torch.zeros(3, 4, 40, 70), 128)
    tiling.encode(codec, torch.zeros(3, 3, 320, 560), 128)
    assert set(codec.seen) == {(1, 4, 16, 16), (1, 3, 128, 128)}


def test_a_picture_is_tiled_above_a_megapixel_or_on_request() -> None:
    def seen(side: int, tile: tiling.Tile) -> set[tuple[int, ...]]:
        codec = Repeated()
        tiling.decode(codec, torch.zeros(1, 4, side // 8, side // 8), tile)
        return set(codec.seen)

    assert seen(1024, "auto") == {(1, 4, 128, 128)}
    assert seen(1032, "auto") == {(1, 4, 64, 64)}
    assert seen(1032, "off") == {(1, 4, 129, 129)}
    assert seen(256, 128) == {(1, 4, 16, 16)}
    assert seen(64, 128) == {(1, 4, 8, 8)}


def test_many_pictures_are_decoded_a_megapixel_at_a_time() -> None:
    codec = Repeated()
    x0 = torch.randn(9, 4, 64, 64)
    assert torch.equal(tiling.decode(codec, x0), Repeated().decode(x0))
    assert codec.seen == [(4, 4, 64, 64), (4, 4, 64, 64), (1, 4, 64, 64)]


def test_the_seams_of_the_embedded_model_are_less_than_a_quarter_of_a_grey_value() -> None:
    """It has no statistics of the whole picture, and 128 px are more than its reach: 0.11 of 255 at most, measured."""
    codec = load("scenes", device="cpu").stages[0].codec.pictures
    drawn = np.asarray(Pipeline(load("scenes", device="cpu"))("a tree in the desert", steps=4, seed=1).image)
    pixels = torch.from_numpy(np.tile(drawn, (3, 3, 1)) / 127.5 - 1).float().movedim(-1, 0)[None]
    whole = codec.encode(pixels)
    assert (tiling.encode(codec, pixels, 256) - whole).abs().max() < 0.02 * whole.std()
    seams = 127.5 * (tiling.decode(codec, whole, 256) - codec.decode(whole)).abs()
    assert seams.isfinite().all()
    assert 0 < seams.max() < 0.25
    assert (
        127.5 * (tiling.decode(codec, whole, 64) - codec.decode(whole)).abs().max() > 1
    )  # the overlap is what does it


def test_a_group_norm_sees_a_tile_alone_so_tiles_differ_in_tone() -> None:
    """Known and bounded: random weights, states of one statistic; a real picture's corners differ more."""
    torch.manual_seed(0)
    codec = KlCodec(Kl(KlConfig(width=32, multipliers=(1, 1, 1, 1), resblocks=1)).eval().requires_grad_(False))
    x0 = torch.randn(1, 4, 48, 48)
    whole, tiles = codec.decode(x0), tiling.decode(codec, x0, 256)
    assert tiles.isfinite().all()
    assert whole.std() > 0.05
    assert 0 < (tiles - whole).norm() / whole.norm() < 0.1


def test_a_picture_of_a_pipeline_is_tiled_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(tiling, "decode", lambda codec, x0, tile="auto": asked.append(tile) or codec.decode(x0))  # type: ignore[func-returns-value]
    pipe = Pipeline(toy.model())
    for tile in ("auto", "off", 64):
        pipe("a tree", tile=tile)
    assert asked == ["auto", "off", 64]


@pytest.mark.parametrize("tile", [63, 60, 65, 5000, "on", 0, -1, 64.5])
def test_another_tile_is_refused(tile: object) -> None:
    with pytest.raises(RequestError) as caught:
        Pipeline(toy.model()).plan("a tree", tile=tile)  # type: ignore[arg-type]
    assert str(caught.value) == f"tile must be auto, off, or a multiple of 8 from 64 to 4096, not {tile!r}"
