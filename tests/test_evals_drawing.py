"""The drawing score: the true sprite is found where it lies, and what is drawn worse scores lower."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scorefield.data.layout import Item
from scorefield.data.scenes import Scene, scene
from scorefield.evals.adherence import renders
from scorefield.evals.checks import blurred, shuffled
from scorefield.evals.drawing import MOST_DB, Plane, drawn, fit, scores

ALONE = replace(scene(0, task="single"), style=None, relation=None, place="meadow")


@pytest.mark.parametrize(
    "item",
    [
        Item(thing="cat", x=60, y=70, size=60),
        Item(thing="snowman", x=30, y=90, size=32, worn="hat"),
        Item(thing="car", x=70, y=50, size=88, colour="green"),
        Item(thing="whale", x=12, y=110, size=44),  # a part of it is outside
    ],
)
def test_a_true_sprite_is_found_where_it_lies(item: Item) -> None:
    (picture,) = renders([replace(ALONE, items=(item,))])
    found = fit(Plane(picture), item)
    assert (found.x, found.y, found.size) == (item.x, item.y, item.size)
    assert found.db == pytest.approx(MOST_DB, abs=0.5)


def test_a_sprite_of_another_size_is_found_at_its_own() -> None:
    item = Item(thing="owl", x=60, y=64, size=48)
    (picture,) = renders([replace(ALONE, items=(item,))])
    assert fit(Plane(picture), replace(item, size=56)).size == 48


def test_the_score_falls_with_noise_as_psnr_does() -> None:
    item = Item(thing="house", x=64, y=64, size=60)
    (picture,) = renders([replace(ALONE, items=(item,))])
    noise = 20 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    noisy = (picture.float() + noise).round().clamp(0, 255).to(torch.uint8)
    assert fit(Plane(noisy), item).db == pytest.approx(22.1, abs=0.6)  # 10 log10(255^2 / 20^2), some of it clipped


def test_what_is_drawn_worse_scores_lower() -> None:
    def score(draw: object, task: str = "single") -> float:
        return scores(drawn(draw, (task,), count=6, batch=4))["overall"]  # type: ignore[arg-type]

    true, soft, mixed = (score(draw) for draw in (renders, blurred, shuffled))
    assert true == pytest.approx(MOST_DB, abs=1)
    assert true > soft + 10
    assert true > mixed + 10


def test_every_kind_of_thing_of_a_prompt_is_scored_once() -> None:
    asked: list[Scene] = []

    def draw(scenes: Sequence[Scene], seed: int) -> Tensor:
        asked.extend(scenes)
        return renders(scenes)

    results = list(drawn(draw, ("binding", "counting"), count=3, batch=2))
    assert [(one.scene, one.thing) for one in results] == [(one, noun.thing) for one in asked for noun in one.nouns]
    assert set(scores(results)) == {"binding", "counting", "overall"}
