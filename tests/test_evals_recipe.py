"""The recipe of the judge: what it is shown, and that its loss asks for just what the judge reads."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scorefield.data.render import render
from scorefield.data.scenes import apart, scene
from scorefield.data.splits import held_out_place
from scorefield.evals import judge
from scorefield.evals.adherence import ALL_TASKS
from scorefield.nets.detector import Detection, Detector
from scorefield.train import recipe as recipes

FILE = Path(__file__).parents[1] / "recipes" / "judge.py"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    recipes.read(FILE)
    return sys.modules["scorefield_recipe_judge"]


class Oracle(nn.Module):
    """A detector that says what the labels say."""

    stride = 8

    def __init__(self, things: Tensor, places: Tensor) -> None:
        super().__init__()
        self.things, self.places = things, places

    def forward(self, pixels: Tensor) -> Detection:
        sizes = {name: len(getattr(judge.LABELS, name)) for name in ("things", "colours", "worn")}
        maps = {name: torch.zeros(len(pixels), count, 16, 16) for name, count in sizes.items()}
        centre, offset = torch.full((len(pixels), 16, 16), -20.0), torch.zeros(len(pixels), 2, 16, 16)
        for b, row in ((b, row) for b, rows in enumerate(self.things.tolist()) for row in rows if row[3] >= 0):
            x, y = row[0] / 8 - 0.5, row[1] / 8 - 0.5
            i, j = row[1] // 8, row[0] // 8
            centre[b, i, j] = 20
            offset[b, :, i, j] = torch.atanh(torch.tensor([x - j, y - i]))
            near = (slice(max(0, i - 2), i + 3), slice(max(0, j - 2), j + 3))
            for name, label in zip(maps, row[3:], strict=True):
                if label >= 0:
                    maps[name][b, label, *near] = 30
        place = nn.functional.one_hot(self.places, len(judge.LABELS.places)) * 30.0
        return Detection(centre, offset, *maps.values(), place)


def test_examples_depend_on_their_index_alone(recipe: ModuleType) -> None:
    whole, part = recipe.examples(range(6)), recipe.examples(range(3, 6))
    for name, value in whole.items():
        assert torch.equal(value[3:], part[name])
    assert not torch.equal(whole["pictures"][0], whole["pictures"][3])


def test_scattered_things_are_never_a_held_out_combination(recipe: ModuleType) -> None:
    several = 0
    for index in range(300):
        one = recipe.scattered(np.random.default_rng(index))
        assert render(one).shape == (128, 128, 3)
        assert not any(held_out_place(item.thing, one.place) for item in one.items)
        names = sorted({item.thing for item in one.items})
        several += len(names) > 1
        assert not apart(one.items)
    assert several > 50


def test_a_quarter_of_the_things_is_damaged_and_to_be_called_unclear(recipe: ModuleType) -> None:
    named = unclear = 0
    for index in range(300):
        one, back = recipe.shown(index, np.random.default_rng(index))
        picture, rows = recipe.harmed(one, back, np.random.default_rng([1, index]))
        whole = np.array_equal(picture, render(one, behind=back))
        hurt = [row for row in rows if row[3] == judge.LABELS.things.index(judge.UNCLEAR)]
        assert all(row[4:] == [recipe.NONE, recipe.NONE] for row in hurt)
        inside = [item for item in one.items if 0 <= item.x < 128 and 0 <= item.y < 128]  # in films, things leave
        assert len(rows) in (0, len(inside))  # things that are strewn about are nowhere
        assert not (hurt and whole)
        named, unclear = named + len(rows) - len(hurt), unclear + len(hurt)
    assert 0.2 < unclear / (named + unclear) < 0.33


def test_a_judge_begins_with_what_an_earlier_one_knows(recipe: ModuleType) -> None:
    earlier, module = judge.load(), Detector(judge.config())
    recipe.begin(module, earlier)
    picture = torch.from_numpy(render(scene(0, task="single"))).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        before, now = earlier.module(picture), module(picture)
    assert torch.allclose(now.centre, before.centre, atol=1e-4)
    for part, labels in (("thing", "things"), ("colour", "colours"), ("worn", "worn"), ("place", "places")):
        theirs, ours = getattr(earlier.labels, labels), getattr(judge.LABELS, labels)
        for row, label in enumerate(theirs):
            there, here = getattr(before, part)[:, row], getattr(now, part)[:, ours.index(label)]
            assert torch.allclose(there, here, atol=1e-4), label


def spread(recipe: ModuleType, count: int = 40) -> dict[str, Tensor]:
    """Examples of the grammar, whose things are far apart, so that no label hides another."""
    singles = [recipe.examples(range(index, index + 1)) for index in range(2, 4 * count, 4)]
    return {name: torch.cat([one[name] for one in singles]) for name in singles[0]}


def test_the_loss_of_what_the_labels_say_is_nothing_but_the_neighbours_doubt(recipe: ModuleType) -> None:
    batch = spread(recipe)
    total, parts = recipe.loss(Oracle(batch["things"], batch["places"]), batch, torch.Generator())
    assert torch.isfinite(total)
    assert float(total) < 0.02, parts


def test_the_loss_grows_with_every_kind_of_error(recipe: ModuleType) -> None:
    batch = spread(recipe)
    right = recipe.loss(Oracle(batch["things"], batch["places"]), batch, torch.Generator())[0]
    for column, kind in ((0, "x"), (1, "y"), (3, "thing"), (4, "colour"), (5, "worn")):
        wrong = batch["things"].clone()
        told = wrong[..., column] >= 0 if column > 2 else wrong[..., 3] >= 0
        wrong[..., column] += told * (3 if column < 2 else -1)
        if column > 2:
            wrong[..., column] = torch.where(told & (wrong[..., column] < 0), 1, wrong[..., column])
        lost = recipe.loss(Oracle(wrong, batch["places"]), batch, torch.Generator())[0]
        assert lost > right + 0.1, kind
    elsewhere = (batch["places"] + 1) % len(judge.LABELS.places)
    lost = recipe.loss(Oracle(batch["things"], elsewhere), batch, torch.Generator())[0]
    assert lost > right + 10


def test_the_judge_reads_what_the_loss_asks_for(recipe: ModuleType) -> None:
    batch = spread(recipe)
    seen = judge.read(Oracle(batch["things"], batch["places"])(batch["pictures"]), 8, 0.5)
    for rows, one in zip(batch["things"].tolist(), seen, strict=True):
        wanted = sorted((judge.LABELS.things[row[3]], row[0], row[1]) for row in rows if row[3] >= 0)
        got = sorted((found.thing, round(found.x), round(found.y)) for found in one.found)
        assert got == wanted


def test_the_threshold_is_the_lowest_of_the_best(recipe: ModuleType) -> None:
    one = scene(0, task="two")
    things = tuple(judge.Found(item.thing, item.x, item.y, 0.52, item.colour, item.worn) for item in one.items)
    ghost = judge.Found("owl", 5, 5, 0.31, None, None)
    pairs = [(one, judge.Seen((*things, ghost), one.place))]
    pairs += [(scene(0, task=task), judge.Seen((), "")) for task in ALL_TASKS]  # wrong at every threshold
    assert recipe.tuned(pairs) == 0.35
    assert recipe.rights(pairs, 0.35)["two"] == 0.5
    assert recipe.rights(pairs, 0.3)["two"] == 0
    assert recipe.rights(pairs, 0.55)["two"] == 0
