"""The experiments on samplers without a network: order, optimise, and what both know of convergence."""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.level import Level
from scorefield.data import shapes
from scorefield.lab import style
from scorefield.lab.experiment import Experiment, Outcome, R, S
from scorefield.lab.plane import convergence, levels, optimisers, order
from scorefield.lab.plane.convergence import Line
from scorefield.lab.plane.exact import posterior_mean
from scorefield.sample import optimise as descent
from scorefield.sample.one_step import euler
from scorefield.sample.samplers import SAMPLERS, find

NODE = (0.7, -0.4)
SPREAD = 0.3


def gaussian() -> shapes.Shape:
    """One Gaussian: the equation has a solution in closed form."""
    node = torch.tensor([NODE], dtype=torch.float64)
    return shapes.Shape(name="one", nodes=node, spread=SPREAD, label=torch.zeros(1, dtype=torch.long))


def noise(count: int) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def solved(x: Tensor) -> Tensor:
    """Where the equation ends: the distance from the mean grows and shrinks with the deviation of the level."""
    at, to = gauge.vp(convergence.NOISY), gauge.vp(convergence.CLEAN)
    wide, narrow = (math.hypot(one.alpha * SPREAD, one.sigma) for one in (at, to))
    node = torch.tensor(NODE, dtype=torch.float64)
    return to.alpha * node + (x - at.alpha * node) * narrow / wide


def line(calls: Sequence[int], values: Sequence[float], name: str = "euler") -> Line:
    return Line(record=find(name)[0], calls=calls, values=values)


@pytest.fixture
def points(tmp_path: Path) -> str:
    """Five bare points in a file."""
    path = tmp_path / "points.csv"
    path.write_text("x,y\n0,0\n1,0\n0,2\n3,1\n-1,1\n")
    return str(path)


def check(outcome: Outcome[S, R], experiment: Experiment[S, R], panels: int) -> None:
    """Every number of the claim is there, the figure is whole, and the animation moves."""
    assert {one.number for one in experiment.criteria} <= set(outcome.numbers)
    assert all(math.isfinite(value) for value in outcome.numbers.values())
    assert len(outcome.figure.axes) == panels
    assert style.image(outcome.figure, dpi=50).getextrema() != ((255, 255),) * 3
    animation = outcome.animation()
    assert animation is not None
    frames = islice(animation.frames, 7)  # one may be shown for half a second
    first = next(frames)
    later = next(frame for frame in frames if frame.tobytes() != first.tobytes())
    assert first.size == later.size
    assert all(side % 2 == 0 for side in first.size)


@pytest.mark.parametrize("slope", [1.0, 2.0, 2.7])
def test_the_order_of_a_power_is_its_exponent_whatever_came_before(slope: float) -> None:
    calls = [4, 8, 20, 50, 60]
    falling = [3.0 * n**-slope for n in calls]
    assert line(calls, [9.0, 0.001, *falling[2:]]).order == pytest.approx(slope)


def test_the_order_is_the_least_squares_slope_of_the_last_three() -> None:
    # Over ln 2 k, k = -1, 0, 1, the slope of ln y is (ln y[2] - ln y[0]) / (2 ln 2): the middle does not count.
    assert line([8, 16, 32], [1.0, 0.7, 1 / 8]).order == pytest.approx(1.5)


def test_what_a_line_needs_lies_on_straight_lines_between_the_logarithms() -> None:
    falling = line([10, 100, 1000], [1.0, 0.1, 0.001])
    assert falling.needs(0.1) == pytest.approx(100)
    assert falling.needs(0.5) == pytest.approx(10 / 0.5)
    assert falling.needs(0.01) == pytest.approx(100 * 10**0.5)  # order 2 from there on: half of the way in logarithms
    assert falling.needs(2.0) == 10  # never above
    assert falling.needs(1e-6) == 1000  # never below: at least


def test_a_line_that_rises_again_needs_what_it_needs_to_stay_below() -> None:
    assert line([1, 10, 100, 1000], [0.1, 0.001, 0.1, 0.001]).needs(0.01) == pytest.approx(100 * 10**0.5)


def test_the_exact_solution_of_one_gaussian_is_the_closed_form_and_its_error_is_below_what_is_said() -> None:
    x = noise(16)
    solution, own = convergence.exact(posterior_mean(gaussian()), x, 512)
    off = convergence.rms(solution - solved(x))
    assert 0 < off < own < 1e-6


@pytest.mark.parametrize(
    ("name", "expected", "each"), [("euler", 1, 1), ("heun", 2, 2), ("dpm2", 2, 2), ("unipc", 2, 1)]
)
def test_errors_against_the_closed_form_fall_with_the_order_and_are_listed_by_calls(
    name: str, expected: int, each: int
) -> None:
    x, counts = noise(16), (32, 64, 128)
    found = convergence.errors(find(name)[0], posterior_mean(gaussian()), x, solved(x), counts)
    assert found.calls == [each * steps for steps in counts]
    assert found.order == pytest.approx(expected, abs=0.1)


def test_two_names_of_one_method_are_joined_and_another_is_not() -> None:
    x, denoise = noise(8), posterior_mean(shapes.ring())
    solution, _ = convergence.exact(denoise, x, 256)
    names = ("euler", "heun", "ddim", "euler_ancestral", "optimise")
    lines = [convergence.errors(find(name)[0], denoise, x, solution, (8, 16)) for name in names]
    together = [[one.record.name for one in group] for group in convergence.joined(lines)]
    assert together == [["euler", "ddim", "euler_ancestral", "optimise"], ["heun"]]


def test_equal_errors_at_twice_the_calls_are_not_one_method() -> None:
    one, other = line([4, 8], [0.5, 0.1]), line([8, 16], [0.5, 0.1], "heun")
    assert not one.is_that_of(other)
    assert len(convergence.joined([one, other])) == 2
    assert one.is_that_of(line([4, 8], [0.5, 0.10001]))


def test_every_sampler_but_ddpm_can_be_set_to_draw_no_noise() -> None:
    x, denoise = noise(4), posterior_mean(gaussian())
    deaf = [record.name for record in SAMPLERS if convergence.ode(record) is None]
    assert deaf == ["ddpm"]
    for record in SAMPLERS:
        if sampler := convergence.ode(record):
            assert convergence.end(sampler, denoise, x, 4).isfinite().all()  # it would fail if it asked for noise
    with pytest.raises(ValueError, match="ddpm always draws noise"):
        convergence.errors(find("ddpm")[0], denoise, x, x, (4,))
    with pytest.raises(ValueError, match="noise was drawn"):
        convergence.end(find("ddpm")[0].sampler, denoise, x, 4)


def test_one_step_of_euler_lands_at_the_mean_of_all_data_and_many_on_it() -> None:
    denoise, start = posterior_mean(shapes.ring()), noise(100)
    one = order.cloud(euler, denoise, start, 1, 0)
    torch.testing.assert_close(one, torch.zeros_like(one), rtol=0, atol=1e-12)
    many = order.cloud(euler, denoise, start, 64, 0)
    assert torch.cdist(many, shapes.ring().nodes).amin(1).mean() < 0.15


def test_the_noise_of_a_cloud_depends_on_the_seed_and_each_point_has_its_own() -> None:
    ddpm, denoise, start = find("ddpm")[0].sampler, posterior_mean(gaussian()), torch.zeros(50, 2, dtype=torch.float64)
    first = order.cloud(ddpm, denoise, start, 8, 0)
    assert torch.equal(first, order.cloud(ddpm, denoise, start, 8, 0))
    assert not torch.equal(first, order.cloud(ddpm, denoise, start, 8, 1))
    assert first.std(0).min() > SPREAD / 3


def numbers_of_order(orders: Mapping[str, float]) -> dict[str, float]:
    """The numbers of made-up lines that fall with those orders."""
    calls = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
    lines = [line(calls, [n**-slope for n in calls], name) for name, slope in orders.items()]
    return order._numbers(lines, 1e-12, {2: 0.5, 32: 0.1})


DECLARED = {"euler": 1.0, "heun": 2.0, "lms": 2.0, "unipc": 2.0}


@pytest.mark.parametrize(
    ("changed", "refuted"),
    [
        ({}, set()),
        ({"lms": 3.0, "unipc": 2.6}, set()),  # faster than declared is granted to these two
        ({"heun": 2.6}, {"largest_departure_from_the_declared_order"}),
        ({"euler": 1.4}, {"largest_departure_from_the_declared_order"}),
        ({"lms": 1.6}, {"largest_shortfall_of_lms_and_unipc"}),
        (
            {"heun": 1.0},
            {
                "largest_departure_from_the_declared_order",
                "share_of_euler_calls_that_order_two_needs_for_one_percent",
            },
        ),
    ],
)
def test_a_sampler_that_falls_otherwise_than_declared_refutes_the_claim(
    changed: dict[str, float], refuted: set[str]
) -> None:
    numbers = numbers_of_order(DECLARED | changed)
    assert {one.number for one in order.order.criteria if not one.holds(numbers)} == refuted


def test_order_runs_on_a_file_of_points(points: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "COUNTS", (4, 8, 16, 32))
    outcome = order.order(shape=points, points=4, exact_steps=256, cloud=50)
    check(outcome, order.order, panels=7)
    assert outcome.numbers["order_of_heun"] > outcome.numbers["order_of_euler"] > 0.5
    assert outcome.result.euler[32].shape == (50, 2)
    # From pure noise the first step of each goes to the mean.
    torch.testing.assert_close(outcome.result.euler[1], outcome.result.second[1])


def test_plain_descent_is_euler_and_no_other_optimiser_is() -> None:
    denoise, down = posterior_mean(shapes.ring()), levels.slowing_down(15, optimisers.START)
    start = float(down[0].sigma) * noise(50)
    way = [step.x for step in euler(denoise, start, down, convergence.no_noise)]
    for name in optimisers.OPTIMISERS:
        steps = optimisers.walk(denoise, start, 15, name)
        assert [step.at for step in steps] == down
        apart = max(float((step.x - x).abs().max()) for step, x in zip(steps, way, strict=True))
        assert apart < 1e-12 if name == "plain" else apart > 0.05


@pytest.mark.parametrize("name", optimisers.OPTIMISERS)
@pytest.mark.parametrize("small", [0.0, 0.02, 0.1, 0.5])
def test_early_stops_read_off_one_walk_are_those_of_the_sampler(name: str, small: float) -> None:
    denoise, down = posterior_mean(shapes.spiral()), levels.slowing_down(10, optimisers.START)
    start = float(down[0].sigma) * noise(20)
    make = optimisers.OPTIMISERS[name]
    walk = list(descent.optimise(denoise, start, down, convergence.no_noise, optimiser=make, small=small))
    x, calls = optimisers.stopped(optimisers.walk(denoise, start, 10, name), small)
    torch.testing.assert_close(x, walk[-1].x, rtol=1e-9, atol=1e-9)
    for row in range(len(start)):
        asked: list[Level] = []

        def counting(x: Tensor, at: Level, asked: list[Level] = asked) -> Tensor:
            asked.append(at)
            return denoise(x, at)

        alone = start[row : row + 1]
        list(descent.optimise(counting, alone, down, convergence.no_noise, optimiser=make, small=small))
        assert calls[row] == len(asked)


def test_no_point_stops_at_zero_noise_and_every_point_at_once_at_any() -> None:
    steps = optimisers.walk(posterior_mean(shapes.ring()), noise(10), 6, "plain")
    x, calls = optimisers.stopped(steps, 0.0)
    assert torch.equal(x, steps[-1].x)
    assert calls.tolist() == [6] * 10
    x, calls = optimisers.stopped(steps, 1e9)
    assert torch.equal(x, steps[0].x0)
    assert calls.tolist() == [1] * 10


ENDS = {"plain": (0.02, 0.12), "momentum": (0.03, 0.2), "Adam": (0.01, 0.9), "AdamW": (0.01, 0.9)}  # distance, misfit
EARLY = (10.0, 0.03, 0.0)  # calls, distance, share off the shape


@pytest.mark.parametrize(
    ("ends", "early", "refuted"),
    [
        ({}, EARLY, set()),
        ({"Adam": (0.2, 0.9)}, EARLY, {"largest_distance_beyond_that_of_data"}),
        ({"plain": (0.02, 0.16)}, EARLY, {"plain_misfit_over_that_of_data"}),
        ({"momentum": (0.03, 0.14)}, EARLY, {"smallest_misfit_of_the_others_over_that_of_data"}),
        ({}, (15.0, 0.03, 0.0), {"early_stop_share_of_calls"}),
        ({}, (10.0, 0.08, 0.2), {"early_stop_distance_beyond_that_of_data"}),
    ],
    ids=["as claimed", "one far off", "a bad sampler", "a good optimiser", "no call saved", "stopped far off"],
)
def test_each_part_of_what_is_claimed_of_optimisers_can_be_refuted(
    ends: dict[str, tuple[float, float]], early: tuple[float, float, float], refuted: set[str]
) -> None:
    stops = dict.fromkeys(ENDS, (99.0, 99.0, 1.0)) | {"plain": early}
    numbers = optimisers._numbers(ENDS | ends, stops, (0.02, 0.1), 15)
    assert {one.number for one in optimisers.optimise.criteria if not one.holds(numbers)} == refuted


def test_optimise_runs_on_a_file_of_points(points: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimisers, "COUNTS", (3, 4))
    outcome = optimisers.optimise(shape=points, steps=4, points=50, clouds=2)
    check(outcome, optimisers.optimise, panels=11)
    assert outcome.result.x["plain"].shape == (5, 50, 2)
    calls = [calls for calls, _, _ in outcome.result.by_small["plain"].values()]
    assert calls[0] == 4
    assert calls == sorted(calls, reverse=True)


def test_adam_brings_the_spiral_in_other_proportions_and_a_sampler_in_its_place_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def misfit() -> tuple[float, bool]:
        numbers = optimisers.optimise(points=100, clouds=3).numbers
        told = {one.number: one.holds(numbers) for one in optimisers.optimise.criteria}
        return numbers["adam_misfit"] / numbers["data_misfit"], told["smallest_misfit_of_the_others_over_that_of_data"]

    monkeypatch.setattr(optimisers, "COUNTS", (5, 10))
    monkeypatch.setattr(optimisers, "PAIRS", 16)
    assert misfit()[0] > 4
    monkeypatch.setattr(optimisers, "OPTIMISERS", dict.fromkeys(optimisers.OPTIMISERS, descent.plain_descent))
    ratio, held = misfit()
    assert ratio < 2
    assert not held
