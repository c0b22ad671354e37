from collections.abc import Callable, Sequence
from dataclasses import replace
from math import hypot

import pytest
import torch
from torch import Tensor

from scorefield.data.asked import Task
from scorefield.data.scenes import Scene
from scorefield.data.splits import held_out_pair, held_out_place
from scorefield.evals import adherence, judge
from scorefield.evals.judge import Found, Seen

LOOK = judge.load()


class Fake:
    """A Draw and the Look that goes with it: pictures carry their own number, and all but the wrong ones are right."""

    def __init__(self, wrong: set[int]) -> None:
        self.wrong = wrong
        self.scenes: list[Scene] = []
        self.calls: list[tuple[int, int]] = []

    def draw(self, scenes: Sequence[Scene], seed: int) -> Tensor:
        start = len(self.scenes)
        self.calls.append((len(scenes), seed))
        self.scenes += scenes
        return torch.arange(start, start + len(scenes))

    def look(self, pictures: Tensor) -> list[Seen]:
        return [self.seen(int(number)) for number in pictures]

    def seen(self, number: int) -> Seen:
        one = self.scenes[number]
        found = [Found(item.thing, item.x, item.y, 0.9, item.colour, item.worn) for item in one.items]
        return Seen(() if number in self.wrong else tuple(found), one.place)


def test_the_shares_are_those_of_the_right_pictures() -> None:
    fake = Fake(wrong={0, 1, 2, 10, 59})
    shares = adherence.shares(adherence.judged(fake.draw, fake.look, count=10, batch=7))
    assert list(shares) == ["single", "two", "counting", "colours", "position", "binding", "overall"]
    assert [share.rate for share in shares.values()] == pytest.approx([0.7, 0.9, 1, 1, 1, 0.9, 55 / 60])
    assert [share.n for share in shares.values()] == [10] * 6 + [60]


def test_the_kth_picture_has_the_kth_seed_whatever_the_batch() -> None:
    fake = Fake(wrong=set())
    results = list(adherence.judged(fake.draw, fake.look, tasks=("two", "single"), count=5, seed=40, batch=4))
    assert fake.calls == [(4, 40), (4, 44), (2, 48)]
    assert [one.seed for one in results] == list(range(40, 50))
    assert [one.scene.task for one in results] == ["two"] * 5 + ["single"] * 5


@pytest.mark.parametrize("task", adherence.ALL_TASKS)
def test_every_prompt_has_a_combination_never_trained_on(task: Task) -> None:
    scenes = adherence.prompts(task, 100)
    assert len({(one.nouns, one.relation, one.place) for one in scenes}) > 60
    for one in scenes:
        pair = [noun.thing for noun in one.nouns]
        new_place = any(held_out_place(thing, one.place) for thing in pair)
        assert one.task == task
        assert one.style is None
        assert new_place or (len(pair) == 2 and held_out_pair(*pair, one.relation)), one.caption


def test_what_cannot_be_asked_for_is_left_out_and_too_few_words_are_an_error() -> None:
    scenes = adherence.prompts("single", 20, lambda one: one.place == "snow")
    assert {one.place for one in scenes} == {"snow"}
    assert len(scenes) == 20
    with pytest.raises(ValueError, match="too few words in common for the task two"):
        adherence.prompts("two", 1, lambda one: False)


def test_no_pictures_have_no_share() -> None:
    with pytest.raises(ValueError, match="0 right of 0"):
        adherence.shares([])


def test_the_judge_finds_held_out_renders_right() -> None:
    shares = adherence.shares(adherence.judged(adherence.renders, LOOK, askable=LOOK.labels.knows, count=100))
    assert shares["overall"].rate >= 0.98, shares  # the bound


def without_the_last(one: Scene) -> Scene:
    return replace(one, items=one.items[:-1])


def with_another_thing(one: Scene) -> Scene:
    names = [name for name in LOOK.labels.things if name != judge.UNCLEAR]
    other = names[(names.index(one.items[0].thing) + 7) % len(names)]
    return replace(one, items=(replace(one.items[0], thing=other, colour=None, worn=None), *one.items[1:]))


def with_one_more(one: Scene) -> Scene:
    spots = [(x, y) for x in (20, 64, 108) for y in (24, 108)]
    x, y = max(spots, key=lambda spot: min(hypot(spot[0] - item.x, spot[1] - item.y) for item in one.items))
    return replace(one, items=(*one.items, replace(one.items[0], x=x, y=y, size=36)))


def in_another_colour(one: Scene) -> Scene:
    first = one.items[0]
    colours = LOOK.labels.colours
    other = colours[(colours.index(first.colour) + 4) % len(colours)]
    return replace(one, items=(replace(first, colour=other), *one.items[1:]))


def with_colours_swapped(one: Scene) -> Scene:
    first, second = one.items
    return replace(one, items=(replace(first, colour=second.colour), replace(second, colour=first.colour)))


def turned_around(one: Scene) -> Scene:
    first, second = one.items
    moved = replace(first, x=second.x, y=second.y), replace(second, x=first.x, y=first.y)
    return replace(one, items=moved, relation=None)


def elsewhere(one: Scene) -> Scene:
    places = LOOK.labels.places
    return replace(one, place=places[(places.index(one.place) + 4) % len(places)])


@pytest.mark.parametrize(
    ("miss", "tasks"),
    [
        (without_the_last, adherence.ALL_TASKS),
        (with_another_thing, adherence.ALL_TASKS),
        (with_one_more, ("single", "two", "colours", "position", "binding")),
        (in_another_colour, ("colours", "binding")),
        (with_colours_swapped, ("binding",)),
        (turned_around, ("position",)),
        (elsewhere, adherence.ALL_TASKS),
    ],
)
def test_the_judge_sees_through_a_near_miss(miss: Callable[[Scene], Scene], tasks: Sequence[Task]) -> None:
    def nearly(scenes: Sequence[Scene], seed: int) -> Tensor:
        return adherence.renders([miss(one) for one in scenes])

    results = list(adherence.judged(nearly, LOOK, askable=LOOK.labels.knows, tasks=tasks, count=60 // len(tasks)))
    passed = [one for one in results if not one.faults and (miss is not elsewhere or one.scene.place_said)]
    if miss is turned_around:
        passed = [one for one in passed if one.scene.relation not in ("next", "holding")]  # which are distances alone
    assert len(passed) <= 1, [(one.scene.caption, one.seen) for one in passed]
