"""The experiments on the field of the plane: pixels, field, target and turn."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.core.level import Level
from scorefield.data import shapes
from scorefield.lab.experiment import Animation, silent
from scorefield.lab.plane import field, learn, levels, pixels, target, turn
from scorefield.lab.plane.exact import posterior_mean
from scorefield.lab.style import lattice, shortened

QUICK = {"steps": 20, "batch": 32}


def gaussian() -> shapes.Shape:
    """One normal of unit variance, of which all is known."""
    centre = torch.zeros(1, 2, dtype=torch.float64)
    return shapes.Shape(name="normal", nodes=centre, spread=1.0, label=torch.zeros(1, dtype=torch.long))


@pytest.fixture
def csv(tmp_path: Path) -> str:
    """Five bare points in a file."""
    path = tmp_path / "five.csv"
    path.write_text("x,y\n0,0\n1,0\n0,1\n1,1\n3,2\n")
    return str(path)


def check_animation(animation: Animation | None) -> None:
    """Its first frames are of one even size, and differ."""
    assert animation is not None
    first, second = islice(animation.frames, 2)
    assert first.size == second.size
    assert all(side % 2 == 0 for side in first.size)
    assert first.tobytes() != second.tobytes()


def test_arrows_are_drawn_shorter_but_in_their_direction() -> None:
    push = torch.tensor([[3.0, 4.0], [0.003, 0.004], [0.0, 0.0]])
    drawn = shortened(push, longest=0.5)
    torch.testing.assert_close(drawn[0], push[0] * 0.5 / 5.5)
    torch.testing.assert_close(drawn[1], push[1] * 0.5 / 0.505)
    assert drawn[2].tolist() == [0, 0]
    cells = lattice(3, limit=1.5)
    assert sorted({round(one, 5) for one in cells.flatten().tolist()}) == [-1, 0, 1]
    assert len(cells) == 9


def test_a_network_without_the_time_predicts_the_same_at_all_times() -> None:
    x = lattice(4)
    for timed in (True, False):
        how = learn.Training(steps=30, batch=64, timed=timed)
        denoiser = learn.learn(shapes.ring(), how, seed=0)
        early, late = (
            denoiser.raw(x * scale, at, Cond()) for scale, at in ((1, Level(1.0, 0.0)), (2, Level(1.0, 1.0)))
        )
        assert torch.allclose(early, late) is not timed  # what it sees is x / (alpha + sigma)


def test_the_exact_field_has_no_error_and_a_shifted_one_its_shift() -> None:
    ring = shapes.ring()
    exact = posterior_mean(ring)
    assert field.errors(ring, exact, 100, seed=0).max() == 0
    shifted = field.errors(ring, lambda x, at: exact(x, at) + 0.25, 100, seed=0)
    torch.testing.assert_close(shifted, torch.full((20,), 0.25), rtol=0, atol=1e-5)


def test_field_draws_any_shape_and_does_not_hold_untrained(csv: str) -> None:
    for shape in ("moons", csv):
        outcome = field.field(shape=shape, states=100, **QUICK)
        assert not outcome.held
        assert outcome.numbers["mean_error"] > 0.1
    assert len(outcome.figure.axes) == 6
    check_animation(outcome.animation())


@pytest.mark.parametrize("k", [20, 50, 80])
def test_of_one_gaussian_both_guesses_and_their_variances_are_known(k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    at, walked = target.WALK[k], target.walks(gaussian(), k, 400_000, generator)
    x = 0.5 * torch.randn(10, 2, generator=generator)
    found = target.weigh(walked, x)
    # The score of a unit normal is -x; Var(eps | x) is alpha^2.
    alpha, sigma = float(at.alpha), float(at.sigma)
    # Some thousand of the walks end at x: a tenth of a deviation is five standard errors.
    torch.testing.assert_close(found.by_total, -x.double(), rtol=0, atol=0.1 * alpha / sigma)
    torch.testing.assert_close(found.by_last, -x.double(), rtol=0, atol=0.1 / walked.beta**0.5)
    assert found.variance_by_total == pytest.approx(alpha**2 / sigma**2, rel=0.05)
    assert found.variance_by_last == pytest.approx(1 / walked.beta - 1, rel=0.05)
    ratio = 1 + (sigma**2 / walked.beta - 1) / alpha**2
    assert found.variance_by_last / found.variance_by_total == pytest.approx(ratio, rel=0.05)


class _Known(torch.nn.Module):
    """The exact denoiser of a unit normal: alpha x."""

    def forward(self, x: Tensor, at: Level, cond: Cond) -> Tensor:
        return torch.as_tensor(at.alpha)[:, None] * x


@pytest.mark.parametrize("all_of_it", [True, False])
def test_the_best_network_is_left_with_the_variance_of_its_target(all_of_it: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, _ = gaussian().draw(200_000, generator)
    loss = target.task(all_of_it).loss(_Known(), x0, Cond(), generator)  # type: ignore[arg-type]
    expected = []
    for before, at in zip(target.WALK[1:-2], target.WALK[2:-1], strict=True):
        beta = 1 - (float(at.alpha) / float(before.alpha)) ** 2
        more = 0.0 if all_of_it else float(at.sigma) ** 2 / beta - 1
        expected.append(float(at.alpha) ** 2 + more)
    assert float(loss) == pytest.approx(sum(expected) / len(expected), rel=0.02)


def test_target_draws_any_shape_and_learns_nothing_in_twenty_steps(csv: str) -> None:
    for shape in ("ring", csv):
        outcome = target.target(shape=shape, walks=2000, states=4, **QUICK)
        assert not outcome.held
        assert outcome.numbers["times_less_error_after_equal_steps"] < 2
    assert len(outcome.figure.axes) == 4
    assert outcome.animation() is None


def test_a_share_crosses_a_half_where_it_does() -> None:
    share = torch.zeros(len(turn.TIMES))
    share[41:] = 1
    assert turn.crossing(share, 0.5) == pytest.approx(turn.TIMES[40] - 0.005)
    assert turn.crossing(torch.zeros(len(turn.TIMES)), 0.5) == turn.TIMES[-1]
    assert turn.crossing(torch.ones(len(turn.TIMES)), 0.5) == turn.TIMES[0]


def test_the_videos_clock_runs_from_their_least_noise_to_their_most() -> None:
    for theirs, sigma in ((0.0, 0.01), (0.4, 0.01 * 1000**0.4), (1.0, 10.0)):
        over_data = sigma / turn.VIDEOS_DEVIATION
        assert turn.on_the_videos_clock(over_data / (1 + over_data)) == pytest.approx(theirs, abs=1e-9)


def test_an_arrow_has_turned_if_it_points_to_the_nearest_point_rather_than_to_the_centre() -> None:
    x, near = torch.tensor([[0.5, 0.0]]), torch.tensor([[1.0, 0.0]])
    assert turn.turned(torch.tensor([[[0.1, 0.05]], [[-0.1, 0.05]]]), x, near).flatten().tolist() == [True, False]
    ring = shapes.ring()
    points = turn.disc(ring, 200, torch.Generator().manual_seed(0))
    push = turn.pushes(posterior_mean(ring), points)
    share = turn.turned(push, points, turn.nearest(ring, points)).float().mean(1)
    assert share[0] == 0
    assert share[-1] == 1
    assert turn.telling(ring, ring.nodes.float() * 0.5).all()
    assert not turn.telling(ring, ring.nodes.float() * 1.5).any()  # there both lie in one direction


def test_turn_draws_any_shape_and_does_not_hold_untrained(csv: str) -> None:
    for shape in ("ring", csv):
        outcome = turn.turn(shape=shape, points=50, **QUICK)
        assert not outcome.held
    assert len(outcome.figure.axes) == 4
    check_animation(outcome.animation())


def test_the_exact_field_of_the_spiral_turns_where_the_videos_say() -> None:
    numbers = turn.turn(points=200, **QUICK).numbers
    assert numbers["turn"] == pytest.approx(0.25, abs=0.02)
    assert numbers["width_from_a_quarter_to_three"] < 0.1


def test_pixels_that_know_nothing_of_each_other_do_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pixels.pixels(scenes=100, pairs=200).held

    def strangers(index: int, seed: int, pairs: int, generator: torch.Generator) -> Tensor:
        return 2 * torch.rand(pairs, 1, 1, 2, generator=generator) - 1

    monkeypatch.setattr(pixels, "cut", strangers)
    outcome = pixels.pixels(scenes=100, pairs=100)
    assert not outcome.held
    assert outcome.numbers["share_near_the_diagonal"] == pytest.approx(1 - 0.95**2, abs=0.02)


def test_pixels_draws_pictures_and_their_points() -> None:
    outcome = pixels.pixels(scenes=10, pairs=50)
    assert len(outcome.figure.axes) == 9
    check_animation(outcome.animation())
    first = outcome.result.walk[0, 0]
    assert pixels.sheet(outcome.result.walk[0])[1, 1:3].tolist() == first.tolist()
    assert outcome.result.walk[0].abs().max() <= 1


def test_a_walk_ends_in_noise_that_knows_nothing_of_its_start() -> None:
    start = torch.full((4000, 2), 0.8)
    end = pixels.walked(start, torch.Generator().manual_seed(0))[-1]
    assert float(end.mean()) == pytest.approx(0, abs=0.05)
    assert float(end.std()) == pytest.approx(1, abs=0.05)


def test_another_loop_is_watched_as_it_says() -> None:
    said = []

    def watch(items, what, total=None):  # type: ignore[no-untyped-def]
        said.append((what, total))
        return silent(items, what, total)

    target.target(walks=1000, states=2, watch=watch, **QUICK)
    assert said == [("weighing walks", 5), ("learning the last noise", 20), ("learning all the noise", 20)]
    assert levels.share(target.WALK[target.PICTURED]) == pytest.approx(0.5)
