from dataclasses import replace

import pytest

from scorefield.data.asked import TASKS, Task
from scorefield.data.captions import Noun
from scorefield.data.layout import Item
from scorefield.data.phrases import RELATIONS
from scorefield.data.scenes import Scene, scene
from scorefield.evals.judge import UNCLEAR, Found, Seen
from scorefield.evals.verdict import faults, holds

PAIR = Scene(
    task="position",
    caption="a red car left of a cat wearing a hat in the desert",
    nouns=(Noun(thing="car", colour="red"), Noun(thing="cat", worn="hat")),
    relation="left",
    place="desert",
    place_said=True,
    style=None,
    variant=0,
    items=(
        Item(thing="car", x=30, y=80, size=44, colour="red"),
        Item(thing="cat", x=94, y=76, size=44, worn="hat"),
    ),
)


def truth(one: Scene) -> Seen:
    """What a perfect judge sees in a true render; where no colour was moved it may say any."""
    found = [Found(item.thing, item.x, item.y, 0.9, item.colour or "black", item.worn) for item in one.items]
    return Seen(tuple(found), one.place)


def changed(**qualities: object) -> Seen:
    """The truth of PAIR with the car changed."""
    car, cat = truth(PAIR).found
    return Seen((car._replace(**qualities), cat), "desert")


@pytest.mark.parametrize("task", TASKS)
def test_a_true_render_that_is_seen_rightly_has_no_fault(task: Task) -> None:
    for index in range(300):
        one = scene(index, split="heldout", task=task)
        if one.nouns:  # of a whole scene nothing may be said
            assert faults(one, truth(one)) == [], one.caption


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (Seen((), "desert"), ["0 x car instead of 1", "0 x cat instead of 1"]),
        (Seen(truth(PAIR).found[:1], "desert"), ["0 x cat instead of 1"]),
        (Seen((*truth(PAIR).found, Found("cat", 5, 5, 0.6, None, "hat")), "desert"), ["2 x cat instead of 1"]),
        (Seen((*truth(PAIR).found, Found("owl", 5, 5, 0.6, None, None)), "desert"), ["1 x owl instead of 0"]),
        (changed(thing=UNCLEAR), ["0 x car instead of 1", "1 x something unclear instead of 0"]),
        (changed(thing="train"), ["0 x car instead of 1", "1 x train instead of 0"]),
        (changed(colour="blue"), ["the car is blue instead of red"]),
        (changed(x=120.0), ["the car is not left the cat"]),
        (truth(PAIR)._replace(place="snow"), ["the place is snow instead of desert"]),
        (
            Seen((truth(PAIR).found[0], truth(PAIR).found[1]._replace(worn="cap")), "desert"),
            ["the cat wears cap instead of hat"],
        ),
        (
            Seen((truth(PAIR).found[0], truth(PAIR).found[1]._replace(worn=None)), "desert"),
            ["the cat wears nothing instead of hat"],
        ),
    ],
)
def test_every_fault_is_named(seen: Seen, told: list[str]) -> None:
    assert faults(PAIR, seen) == told


def test_what_is_not_said_is_not_judged() -> None:
    silent = replace(PAIR, place_said=False, relation=None, nouns=(Noun(thing="car"), PAIR.nouns[1]))
    assert faults(silent, Seen(changed(colour="green", x=120.0).found, "snow")) == []


def test_of_a_number_that_is_not_said_two_are_enough_and_one_is_not() -> None:
    cats = replace(PAIR, relation=None, place_said=False, nouns=(Noun(thing="cat", count=4, counted=False),))
    found = [Found("cat", 20.0 * k, 60, 0.9, None, None) for k in range(3)]
    assert faults(cats, Seen(tuple(found), "")) == []
    assert faults(cats, Seen(tuple(found[:1]), "")) == ["1 x cat instead of several"]


def test_headgear_that_was_not_asked_for_is_a_fault() -> None:
    bare = replace(PAIR, nouns=(PAIR.nouns[0], Noun(thing="cat")))
    assert faults(bare, truth(PAIR)) == ["the cat wears hat instead of nothing"]


@pytest.mark.parametrize(
    ("right", "down", "relations"),
    [
        (-60, 0, {"left", "next", "holding"}),
        (60, 20, {"right", "next", "holding"}),
        (0, -70, {"above"}),
        (10, -44, {"above", "on", "riding", "behind", "holding"}),
        (0, 62, {"below", "holding"}),
        (12, 40, {"below", "front", "holding"}),
        (-50, 50, {"left", "below"}),
        (-70, 35, {"left"}),  # 63 degrees off `below`
        (30, -44, {"above", "right", "behind", "holding"}),  # too far aside to stand on it
        (-100, 0, {"left"}),  # too far to be next to it
    ],
)
def test_a_relation_is_decided_by_the_centres(right: int, down: int, relations: set[str]) -> None:
    first, second = Found("car", 64 + right, 64 + down, 1, None, None), Found("cat", 64, 64, 1, None, None)
    assert {way for way in RELATIONS if holds(first, second, way)} == relations
