"""Damage: of its random numbers alone, the size kept, the picture no longer what it was."""

import numpy as np
import pytest

from scorefield.data import damage
from scorefield.data.render import render
from scorefield.data.scenes import scene
from scorefield.data.sprites import sprite


@pytest.mark.parametrize("way", damage.OF_SPRITES)
@pytest.mark.parametrize(("thing", "size"), [("cat", 60), ("bicycle", 28), ("giraffe", 88)])
def test_a_damaged_sprite_keeps_its_size_and_not_its_shape(way: damage.Damage, thing: str, size: int) -> None:
    whole = sprite(thing, size)
    before = whole.copy()
    hurt = way(whole, np.random.default_rng(0))
    assert np.array_equal(whole, before)
    assert hurt.shape == whole.shape
    assert hurt.dtype == np.uint8
    assert np.array_equal(hurt, way(whole, np.random.default_rng(0)))
    ink = whole[..., 3] > 128
    changed = np.abs(hurt.astype(int) - whole).max(-1) > 24
    assert changed[ink | (hurt[..., 3] > 128)].mean() > 0.15


@pytest.mark.parametrize("way", [*damage.IN_PLACE, *damage.DISPLACED])
def test_a_damaged_picture_is_another_one_of_the_same_colours(way: damage.Damage) -> None:
    picture = render(scene(3, task="single"))
    hurt = way(picture, np.random.default_rng(1))
    assert hurt.shape == picture.shape
    assert (hurt != picture).any(-1).mean() > 0.05
    assert np.abs(hurt.mean((0, 1)) - picture.mean((0, 1))).max() < 25


def test_half_of_a_halved_sprite_is_gone() -> None:
    whole = sprite("heart", 80)
    for seed in range(20):
        half = damage.halved(whole, np.random.default_rng(seed))
        assert 0.3 < (half[..., 3] > 128).sum() / (whole[..., 3] > 128).sum() < 0.7


def test_a_hybrid_holds_pixels_of_both() -> None:
    red, blue = sprite("heart", 80, "red"), sprite("heart", 60, "blue")
    for seed in range(20):
        mixed = damage.hybrid(red, blue, np.random.default_rng(seed)).astype(int)
        ink = mixed[mixed[..., 3] > 250][:, :3]
        reddish, bluish = (ink[:, 0] - ink[:, 2] > 60).mean(), (ink[:, 2] - ink[:, 0] > 60).mean()
        assert (reddish > 0.2 and bluish > 0.2) or max(reddish, bluish) < 0.3


def test_a_sprite_is_broken_in_every_way() -> None:
    rng = np.random.default_rng(0)
    broken = [damage.broken(sprite("owl", 60), sprite("car", 60), rng).tobytes() for _ in range(60)]
    assert len(set(broken)) > 50
