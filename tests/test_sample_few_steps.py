"""Few steps: every sampler, by its bare name and with Karras levels, against the exact flow of a mixture.

docs/make_few_steps.py measures the same on the embedded model, for the table of docs/loop.md.
"""

import functools
import inspect
import math
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from tests.mixture import Mixture
from torch import Tensor

from scorefield.core import gauge, grid, noise_schedule
from scorefield.core.level import Level
from scorefield.sample.samplers import SAMPLERS, SamplerRecord, find
from scorefield.sample.walk import TWO_STEPS, Reach

WIDTH, STEPS = 16, (6, 8, 10, 12)
ABAR = noise_schedule.cumulative(noise_schedule.scaled_linear())
EIGHT = Mixture(
    weights=torch.full((8,), 1 / 8, dtype=torch.float64),
    means=torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(3), dtype=torch.float64),
    deviations=torch.full((8,), 0.15, dtype=torch.float64),
)


class Trained(NamedTuple):
    """A model's gauge, its ladder and its own schedule."""

    gauge: gauge.Gauge
    ladder: noise_schedule.Ladder
    schedule: str


MODELS = {
    "flow": Trained(gauge.rf, noise_schedule.flow(), "trailing"),  # from pure noise, as the embedded model
    "stable diffusion": Trained(gauge.vp, noise_schedule.discrete(noise_schedule.lams(ABAR)), "leading"),
    "zero snr": Trained(
        gauge.vp, noise_schedule.discrete(noise_schedule.lams(noise_schedule.zero_snr(ABAR))), "trailing"
    ),
}
HELD = [record for record in SAMPLERS if record.name != "ddpm"]  # which has no ODE


def no_noise(at: Level, to: Level) -> Tensor:
    raise AssertionError("an ODE sampler asked for noise")


@functools.cache
def drawn(name: str, model: str, schedule: str, steps: int) -> Tensor:
    trained, sampler = MODELS[model], find(name)[0].sampler
    if "eta" in inspect.signature(sampler).parameters:
        sampler = functools.partial(sampler, eta=0.0)
    path = grid.levels(trained.gauge, grid.find(schedule)(trained.ladder)(steps))
    eps = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    *_, last = sampler(EIGHT, math.hypot(*path[0]) * eps, path, no_noise)
    assert last.x.isfinite().all()
    return last.x


def error(name: str, model: str, schedule: str, steps: int) -> float:
    return float((drawn(name, model, schedule, steps) - drawn("heun", model, "karras", 200)).square().mean().sqrt())


@pytest.mark.parametrize("schedule", ["its own", "karras", "exponential"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("record", HELD, ids=[record.name for record in HELD])
def test_from_six_steps_on_every_sampler_draws_at_least_about_as_well_as_euler(
    record: SamplerRecord, model: str, schedule: str
) -> None:
    schedule = MODELS[model].schedule if schedule == "its own" else schedule
    for steps in STEPS:
        assert error(record.name, model, schedule, steps) <= 2 * error("euler", model, schedule, steps)


def test_karras_levels_of_stable_diffusion_are_within_reach_from_six_steps_on() -> None:
    """So there the samplers equal their peers, which know no bound."""

    def within(model: str, steps: int) -> bool:
        trained = MODELS[model]
        path = grid.levels(trained.gauge, grid.karras(trained.ladder)(steps))
        return all(TWO_STEPS.holds(at, to) for at, to in pairwise(path[:-1]))

    assert all(within("stable diffusion", steps) for steps in range(6, 60))
    assert not within("stable diffusion", 5)
    assert not within("flow", 12)


def test_a_reach_ends_where_it_says() -> None:
    reach = Reach(clean=2.0, noisy=1.0)
    for lam, longest in ((-1.5, 1.0), (-0.1, 1.0), (0.1, 2.0), (3.0, 2.0)):
        at = gauge.vp(lam)
        assert reach.holds(at, gauge.vp(lam + longest - 0.01))
        assert not reach.holds(at, gauge.vp(lam + longest + 0.01))
    assert not reach.holds(Level(0.0, 1.0), gauge.vp(-3.0))
    assert not reach.holds(gauge.vp(5.0), Level(1.0, 0.0))
