"""The experiment on guidance in the plane: classes."""

import dataclasses
import math
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.data import shapes
from scorefield.guide.cfg import cfg
from scorefield.lab import style
from scorefield.lab.plane import by_class, class_guidance, classes, levels
from scorefield.lab.plane.exact import posterior_mean

RING = by_class.labelled(shapes.ring())
PASSED = levels.slowing_down(24)


def noise(count: int) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0))


def fields() -> tuple[list[Denoise], Denoise]:
    """The exact fields of the ring's three classes, and of all of it."""
    return [posterior_mean(RING.only(label)) for label in range(3)], posterior_mean(RING)


def file(folder: Path, *points: str) -> str:
    path = folder / "points.csv"
    path.write_text("\n".join(points))
    return str(path)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory):
    """The outcome on a file of points after three updates."""
    points = file(tmp_path_factory.mktemp("points"), "0,0", "1,0", "0,2", "3,1", "-1,1")
    return classes.classes(shape=points, training=3, steps=4, points=16)


def test_a_shape_with_classes_keeps_them() -> None:
    for shape in (shapes.spiral(), shapes.moons()):
        assert by_class.labelled(shape) is shape


def test_a_shape_without_has_three_of_equal_size_around_its_centre() -> None:
    board = by_class.labelled(shapes.checkerboard())
    sizes = torch.bincount(board.label)
    assert len(sizes) == 3
    assert int(sizes.max() - sizes.min()) <= 1
    angle = torch.atan2(board.nodes[:, 1], board.nodes[:, 0])
    for label in range(2):  # each class ends where the next begins
        assert angle[board.label == label].max() <= angle[board.label == label + 1].min()


def test_two_points_are_two_classes(tmp_path: Path) -> None:
    shape = by_class.labelled(shapes.find(file(tmp_path, "0,0", "1,1")))
    assert sorted(shape.label.tolist()) == [0, 1]
    assert by_class.names(shape) == ["class 1", "class 2"]
    assert by_class.names(shapes.spiral()) == ["person", "dog", "cat"]


def test_a_point_has_the_class_of_its_nearest_node_and_shares_count_them() -> None:
    nodes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    shape = shapes.Shape(name="three", nodes=nodes, spread=0.0, label=torch.tensor([2, 0, 1]))
    found = by_class.nearest(shape, torch.tensor([[-5.0, 1.0], [0.6, 0.0], [1.4, 3.0], [1.6, 0.0]]))
    assert found.tolist() == [2, 0, 0, 1]
    assert [by_class.share(found, label) for label in range(3)] == [0.5, 0.25, 0.25]


def test_the_network_gets_one_class_for_the_whole_batch() -> None:
    def denoiser(x: Tensor, at: Level, cond: Cond) -> Tensor:
        assert cond.label is not None
        return x + 10 * cond.label[:, None]

    x = noise(5)
    for label in (0, 3):
        assert torch.equal(by_class.of_class(denoiser, label)(x, levels.level(0.5)), x + 10 * label)


def test_guidance_of_zero_is_the_unconditional_walk_and_of_one_the_conditional() -> None:
    (person, *_), none = fields()
    start = noise(40)
    walks = {alpha: class_guidance.walk(cfg(person, none, alpha), start, PASSED) for alpha in (0.0, 1.0, 2.0)}
    assert walks[0.0].shape == (25, 40, 2)
    assert torch.allclose(walks[0.0], class_guidance.walk(none, start, PASSED), atol=1e-6)
    assert torch.allclose(walks[1.0], class_guidance.walk(person, start, PASSED), atol=1e-6)
    assert not torch.allclose(walks[2.0], walks[1.0], atol=0.01)


def test_the_exact_fields_bring_every_point_to_its_class_and_without_one_to_all() -> None:
    conditional, none = fields()
    start = noise(300)
    for label, field in enumerate(conditional):
        assert by_class.share(by_class.nearest(RING, class_guidance.walk(field, start, PASSED)[-1]), label) == 1
    found = by_class.nearest(RING, class_guidance.walk(none, start, PASSED)[-1])
    assert sorted(torch.bincount(found).tolist()) == pytest.approx([75, 112.5, 112.5], abs=25)  # of 8 nodes 2, 3 and 3


def test_a_negative_class_keeps_points_away_from_it() -> None:
    conditional, none = fields()
    start = noise(300)
    for label, field in enumerate(conditional):
        unguided = by_class.nearest(RING, class_guidance.walk(none, start, PASSED)[-1])
        away = by_class.nearest(RING, class_guidance.walk(cfg(none, field, 3.0), start, PASSED)[-1])
        assert by_class.share(unguided, label) > 0.15
        assert by_class.share(away, label) <= 0.1  # as the claim says


def test_a_field_agrees_with_itself_and_not_with_its_mirror() -> None:
    _, none = fields()

    def mirrored(x: Tensor, at: Level) -> Tensor:  # sees the same noise the other way round
        return 2 * x / at.alpha - none(x, at)

    itself, mirror = (class_guidance.agreement(RING, [one], none, 0, states=50) for one in (none, mirrored))
    assert torch.allclose(itself, torch.ones(len(class_guidance.TIMES)), atol=1e-4)
    assert torch.allclose(mirror, -torch.ones(len(class_guidance.TIMES)), atol=1e-4)


def test_the_exact_fields_of_classes_agree_far_out_and_part_near_the_data() -> None:
    conditional, none = fields()
    told = dict(zip(class_guidance.TIMES, class_guidance.agreement(RING, conditional, none, 0).tolist(), strict=True))
    assert told[classes.FAR] > 0.99
    assert told[classes.NEAR] < 0.6  # two of three points are of another class


def test_an_arrow_leads_from_its_place_to_what_the_field_sees_there() -> None:
    centre = torch.tensor([0.5, -1.0])

    def field(x: Tensor, at: Level) -> Tensor:
        assert at.alpha == 1
        assert levels.share(at) == pytest.approx(0.8)
        return centre.expand_as(x)

    places, way = class_guidance.push(field, 0.8)
    assert torch.allclose(places + way, centre.expand_as(places), atol=1e-5)
    assert places.abs().max() > 4  # sigma is 4 where t is 0.8 and alpha is 1


def hears(monkeypatch: pytest.MonkeyPatch, more: int | None):
    """The outcome on the ring with a network that knows all, and hears a class as `more` times more likely; None: sure.

    It is exact, so that what comes out is known.
    """

    def field(label: int) -> Denoise:
        if label == 3:
            return posterior_mean(RING)
        mine = RING.only(label)
        if more is None:
            return posterior_mean(mine)
        nodes = torch.cat([RING.nodes, mine.nodes.repeat(more, 1)])
        return posterior_mean(dataclasses.replace(RING, nodes=nodes))

    told = [field(label) for label in range(4)]

    def network(x: Tensor, at: Level, cond: Cond) -> Tensor:
        return told[int(cond.label[0])](x, at)

    monkeypatch.setattr(classes.learn, "learn", lambda *_: network)
    return classes.classes(shape="ring", steps=24, points=200)


NEAR = "cosine_of_the_fields_near_the_data"
GUIDED_OVER, OVERDONE = "wrong_share_guided_over_conditional", "misfit_at_the_largest_alpha_over_the_best"


@pytest.mark.parametrize(
    ("more", "refuted"),
    [
        (None, {"wrong_share_conditional"}),
        (12, {NEAR}),  # with little noise it sees the class better than it is told it
        (0, {NEAR, GUIDED_OVER, OVERDONE, "share_of_the_middle_class_as_negative"}),
    ],
    ids=["sure", "loose", "deaf"],
)
def test_guidance_has_nothing_to_mend_in_a_sure_network_mends_a_loose_one_and_not_a_deaf_one(
    more: int | None, refuted: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = hears(monkeypatch, more)
    assert {one.number for one in classes.classes.criteria if not one.holds(outcome.numbers)} == refuted


def test_the_fit_of_a_loose_network_is_best_with_some_guidance_and_that_of_a_sure_one_with_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sure = hears(monkeypatch, None).numbers
    assert sure["alpha_of_the_best_fit"] == 1
    assert sure["largest_error_of_the_cosine"] < 1e-6
    loose = hears(monkeypatch, 12).numbers
    assert loose["alpha_of_the_best_fit"] in (1.5, 2.0, 3.0)
    # Of 8 nodes 3, 3 and 2 are of a class: so likely is another where its own are 13 times as likely.
    likely = (5 / (13 * 3 + 5) + 5 / (13 * 3 + 5) + 6 / (13 * 2 + 6)) / 3
    assert loose["wrong_share_conditional"] == pytest.approx(likely, abs=0.04)


def test_the_one_point_that_is_followed_is_the_first_to_miss_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    result = hears(monkeypatch, 12).result
    found = by_class.nearest(result.shape, result.clouds[1.0][-1])
    assert result.followed > 0
    assert found[result.followed] != 2
    assert (found[: result.followed] == 2).all()


def test_the_numbers_are_means_over_the_classes(untrained) -> None:
    result, count = untrained.result, len(class_guidance.ALPHAS)
    fit = torch.linspace(3, 1, count, dtype=torch.float64)[:, None] + torch.tensor([-0.5, 0.0, 0.5])
    right = torch.linspace(0.2, 1, count, dtype=torch.float64)[:, None].expand(-1, 3)
    numbers = classes._numbers(dataclasses.replace(result, fit=fit, right=right))
    assert numbers["alpha_of_the_best_fit"] == 8
    assert numbers["misfit_at_the_largest_alpha_over_the_best"] == 1
    assert numbers["misfit_at_alpha_0"] == pytest.approx(3)
    assert numbers["wrong_share_conditional"] == pytest.approx(1 - (0.2 + 0.8 * 2 / 8))
    assert numbers["wrong_share_guided_over_conditional"] == pytest.approx(0.3 / 0.6)
    perfect = classes._numbers(dataclasses.replace(result, right=torch.ones(count, 3)))
    assert perfect["wrong_share_guided_over_conditional"] == 0


def test_an_untrained_network_does_not_pass_and_all_numbers_of_the_claim_are_there(untrained) -> None:
    numbers = untrained.numbers
    assert {one.number for one in classes.classes.criteria} <= set(numbers)
    assert all(math.isfinite(value) for value in numbers.values())
    assert not untrained.held
    told = {one.number: one.holds(numbers) for one in classes.classes.criteria}
    assert not told["wrong_share_guided_over_conditional"]
    assert not told["cosine_of_the_fields_near_the_data"]  # it has not learned to hear the class


def test_without_guidance_each_sample_has_one_class_whatever_the_condition(untrained) -> None:
    clouds = untrained.result.clouds[0.0]
    assert torch.equal(clouds[0], clouds[1])
    assert torch.equal(clouds[0], clouds[2])
    assert untrained.numbers["right_share_at_alpha_0"] == pytest.approx(1 / 3)


def test_the_ways_that_are_drawn_end_in_the_clouds_that_are_measured(untrained) -> None:
    result = untrained.result
    conditional, guided = result.ways
    assert conditional.shape == (5, 16, 2)
    assert torch.equal(conditional[-1], result.clouds[1.0][-1])
    assert torch.allclose(guided[-1], result.clouds[class_guidance.GUIDED][-1], atol=1e-5)
    assert torch.equal(conditional[0], guided[0])


def test_the_figure_has_all_panels_and_the_animation_moves(untrained) -> None:
    assert len(untrained.figure.axes) == 9
    assert style.image(untrained.figure, dpi=50).size == (400, 440)
    animation = untrained.animation()
    assert animation is not None
    first, second = islice(animation.frames, 2)
    assert first.size == second.size == (640, 380)
    assert first.tobytes() != second.tobytes()
