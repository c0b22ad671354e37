"""The pictures that a judge is checked with: nothing in them can be recognised, and all else is as in the renders."""

from dataclasses import replace

import pytest
import torch

from scorefield.data.layout import Item
from scorefield.data.scenes import scene
from scorefield.evals import checks
from scorefield.evals.adherence import renders

SCENES = [scene(index, split="heldout", task="two") for index in range(4)]
HEART = replace(
    SCENES[0], items=(Item(thing="heart", x=64, y=64, size=60, colour="red"),), place="white", relation=None, style=None
)


@pytest.mark.parametrize("name", checks.CHECKS)
def test_pictures_come_as_renders_do_and_always_the_same(name: str) -> None:
    pictures = checks.CHECKS[name](SCENES, 5)
    assert pictures.shape == (4, 3, 128, 128)
    assert pictures.dtype == torch.uint8
    assert torch.equal(pictures, checks.CHECKS[name](SCENES, 5))
    assert torch.equal(pictures, renders(SCENES)) == (name == "true")


def test_shuffled_pixels_stay_in_their_cells() -> None:
    true, mixed = renders(SCENES), checks.shuffled(SCENES)
    assert (true != mixed).any(1).float().mean() > 0.2
    for picture, other in zip(true, mixed, strict=True):
        for top, left in ((0, 0), (64, 56), (120, 120)):
            cell = (slice(None), slice(top, top + 8), slice(left, left + 8))
            ours, theirs = (sorted(one[cell].flatten(1).T.tolist()) for one in (picture, other))
            assert ours == theirs


def test_the_blur_has_three_pixels() -> None:
    edge = replace(HEART, items=())
    assert torch.equal(checks.blurred([edge])[0, :, 64], renders([edge])[0, :, 64])
    steps = [one[0].int().diff(dim=-1).abs().max() for one in (renders([HEART])[0], checks.blurred([HEART])[0])]
    assert steps[1] < steps[0] / 3


def test_a_half_is_a_half_and_a_hybrid_keeps_the_upper_one() -> None:
    true, half, hybrid = (draw([HEART])[0].int() for draw in (renders, checks.halves, checks.hybrids))
    assert torch.equal(true[:, :, :62], half[:, :, :62])
    assert (true != half)[:, 50:70, 66:90].any()
    assert torch.equal(true[:, :60], hybrid[:, :60])
    assert (true != hybrid)[:, 66:].any()
