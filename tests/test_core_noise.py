"""Noise policies: unit normals that belong to a seed, and a Brownian path that ignores the grid."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from scorefield.core import gauge, grid, noise, noise_schedule
from scorefield.core.level import Level

SHAPE = (3, 4, 4)


def levels(steps: int) -> list[Level]:
    return grid.levels(gauge.rf, grid.trailing(noise_schedule.flow())(steps))


def drawn(run: noise.Run, steps: int = 4) -> list[Tensor]:
    return [run.initial, *(run.step(at, to) for at, to in pairwise(levels(steps)))]


def is_normal(values: Tensor) -> None:
    assert torch.isfinite(values).all()
    assert stats.kstest(values.flatten().double().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("policy", noise.POLICIES)
def test_every_draw_is_unit_normal_float32_and_independent_of_the_others(policy: str) -> None:
    draws = drawn(noise.find(policy)(range(500), SHAPE))
    for values in draws:
        assert values.dtype == torch.float32
        assert values.shape == (500, *SHAPE)
        is_normal(values)
    rows = torch.stack(draws).flatten(1)
    assert (torch.corrcoef(rows) - torch.eye(len(rows))).abs().max() < 5 / math.sqrt(rows.shape[1])
    columns = draws[1].flatten(1).T  # one pixel against another, over the seeds
    assert (torch.corrcoef(columns) - torch.eye(len(columns))).abs().max() < 5 / math.sqrt(500)


@pytest.mark.parametrize("policy", ["per_sample", "brownian"])
def test_a_sample_depends_on_its_seed_and_not_on_its_batch(policy: str) -> None:
    make = noise.find(policy)
    together = drawn(make([7, 8, 9], SHAPE))
    alone, moved = drawn(make([8], SHAPE)), drawn(make([3, 9, 8], SHAPE))
    for three, one, other in zip(together, alone, moved, strict=True):
        assert torch.equal(three[1], one[0])
        assert torch.equal(three[1], other[2])
        assert not torch.equal(three[0], three[1])


@pytest.mark.parametrize("policy", noise.POLICIES)
def test_a_run_can_be_made_again(policy: str) -> None:
    make = noise.find(policy)
    first, again = drawn(make([1, 2], SHAPE)), drawn(make([1, 2], SHAPE))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("policy", ["per_sample", "brownian"])
def test_the_start_is_what_initial_draws(policy: str) -> None:
    assert torch.equal(noise.find(policy)([4, 5], SHAPE).initial, noise.initial([4, 5], SHAPE))


def test_batch_draws_from_one_generator_as_diffusers_does() -> None:
    source = torch.Generator().manual_seed(4)
    for values in drawn(noise.batch([4, 5], SHAPE)):
        assert torch.equal(values, torch.randn(2, *SHAPE, generator=source))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    for policy in noise.POLICIES:
        drawn(noise.find(policy)([4, 5], SHAPE))
    assert torch.equal(before, torch.get_rng_state())


def increment(run: noise.Run, low: float, high: float) -> Tensor:
    """W(high) - W(low) in u = e^(2 lam)."""
    spread = math.exp(2 * high) - (math.exp(2 * low) if low > -math.inf else 0)
    return math.sqrt(spread) * run.step(gauge.vp(low), gauge.vp(high)).double()


@pytest.mark.parametrize("lams", [(-math.inf, -1.0, 0.3), (-2.0, -1.999, 1.0), (0.0, 1.0, 7.0), (-1.0, 3.3, 3.4)])
def test_brownian_increments_add_up(lams: tuple[float, float, float]) -> None:
    a, b, c = lams
    run = noise.brownian([1, 2], SHAPE)
    whole, parts = increment(run, a, c), increment(run, a, b) + increment(run, b, c)
    assert torch.isfinite(whole).all()
    assert (whole - parts).abs().max() <= 4e-7 * whole.abs().max()


def test_a_brownian_interval_does_not_depend_on_what_was_asked_before() -> None:
    at, to = gauge.vp(-0.7), gauge.vp(0.9)
    fresh = noise.brownian([1], SHAPE)
    used = noise.brownian([1], SHAPE)
    for low, high in pairwise(levels(9)):
        used.step(low, high)
    assert torch.equal(fresh.step(at, to), used.step(at, to))


def test_neighbouring_brownian_intervals_are_independent_and_nested_ones_correlate() -> None:
    run = noise.brownian(range(400), (16,))
    edges = [-2.0, -1.0, -0.3, 0.1, 0.11, 2.0]
    rows = torch.stack([run.step(gauge.vp(low), gauge.vp(high)) for low, high in pairwise(edges)]).flatten(1)
    for row in rows:
        is_normal(row)
    assert (torch.corrcoef(rows) - torch.eye(len(rows))).abs().max() < 5 / math.sqrt(rows.shape[1])
    part, whole = run.step(gauge.vp(0.0), gauge.vp(0.5)), run.step(gauge.vp(0.0), gauge.vp(1.0))
    want = math.sqrt((math.exp(1.0) - 1) / (math.exp(2.0) - 1))
    got = torch.corrcoef(torch.stack([part.flatten(), whole.flatten()]))[0, 1]
    assert abs(got.item() - want) < 5 / math.sqrt(part.numel())


def test_an_sde_step_split_in_two_ends_where_one_does() -> None:
    """With a constant x0, x' = s x + (...) x0 + up z is linear, so only the path of the noise can differ."""
    x0, fine = torch.full((2, *SHAPE), 0.3), [gauge.vp(-2 + 3 * k / 8) for k in range(9)]
    ends = []
    for visited in (fine, fine[::4], fine[::8]):
        run = noise.brownian([1, 2], SHAPE)
        x = run.initial
        for at, to in pairwise(visited):
            shrink = to.sigma / at.sigma * at.alpha / to.alpha  # e^-h
            up = to.sigma * math.sqrt(1 - shrink**2)
            x = to.sigma / at.sigma * shrink * x + to.alpha * (1 - shrink**2) * x0 + up * run.step(at, to)
        ends.append(x)
    assert torch.isfinite(ends[0]).all()
    for other in ends[1:]:
        assert (other - ends[0]).abs().max() < 1e-5


def test_brownian_noise_refuses_an_interval_without_length() -> None:
    run = noise.brownian([1], SHAPE)
    for low, high in ((1.0, 1.0), (1.0, 0.0), (17.0, 18.0), (-math.inf, -17.0)):
        with pytest.raises(ValueError, match="a step towards clean"):
            run.step(gauge.vp(low), gauge.vp(high))


def test_the_last_step_to_clean_has_finite_noise() -> None:
    assert torch.isfinite(noise.brownian([1], SHAPE).step(gauge.rf(6.9), gauge.rf(math.inf))).all()


def test_an_unknown_policy_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown noise policy 'brown'; nearest: brownian"):
        noise.find("brown")


BIG = [2**32, 2**32 + 7, 7 + 5 * 2**32, 2**63, 2**64 - 1, 2**64 - 2**32, 0xDEADBEEF_00000007]


def test_seeds_below_two_to_the_32_are_torchs_own() -> None:
    for seed in (0, 7, 2**31, 2**32 - 1):
        assert torch.equal(
            noise.initial([seed], SHAPE)[0], torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
        )


@pytest.mark.parametrize("policy", noise.POLICIES)
def test_larger_seeds_all_differ(policy: str) -> None:
    seeds = [*BIG, 7, 0, 2**32 - 1, 2**31]
    runs = [drawn(noise.find(policy)([seed], (3, 40, 40))) for seed in seeds]
    for step in zip(*runs, strict=True):
        rows = torch.stack([one.flatten() for one in step])
        for row in rows:
            is_normal(row)
        assert (torch.corrcoef(rows) - torch.eye(len(rows))).abs().max() < 5 / math.sqrt(rows.shape[1])


def test_two_seeds_never_mix_to_the_same_number() -> None:
    """Each step of it can be undone; here it is, for numbers of every size."""

    def undone(value: int) -> int:
        for shift, factor in ((31, 1), (27, 0x94D049BB133111EB), (30, 0xBF58476D1CE4E5B9)):
            value = value * pow(factor, -1, 2**64) % 2**64
            value ^= value >> shift ^ value >> 2 * shift
        return value

    source = torch.Generator().manual_seed(1)
    for _ in range(1000):
        high, low = torch.randint(2**32, (2,), generator=source).tolist()
        seed = (high << 32 | low) >> int(torch.randint(64, (), generator=source))
        assert 0 <= noise._mixed(seed) < 2**64
        assert undone(noise._mixed(seed)) == seed
