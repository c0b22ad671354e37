"""A walk does not depend on the gauge, and its ends may be pure noise and the clean picture."""

import pytest
import torch
from tests.mixture import THREE
from tests.peers import WaveNoise
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.level import Level
from scorefield.sample.one_step import heun
from scorefield.sample.samplers import SAMPLERS
from scorefield.sample.walk import Sampler

SHAPE = (8, 2)
BY_NAME = {record.name: record.sampler for record in SAMPLERS}
FREE = [name for name in BY_NAME if name != "heun"]


def result(sampler: Sampler, make: gauge.Gauge, lams: list[float], start: Tensor) -> Tensor:
    """x / alpha at the end, from the state whose VE form is `start`."""
    levels = [make(lam) for lam in lams]
    *_, last = sampler(THREE, levels[0].alpha * start, levels, WaveNoise(SHAPE))
    return last.x / last.at.alpha


@pytest.mark.parametrize("name", FREE)
def test_the_result_does_not_depend_on_the_gauge(name: str) -> None:
    lams = torch.linspace(-3, 3, 21, dtype=torch.float64).tolist()
    start = torch.randn(SHAPE, dtype=torch.float64) * 20
    ve, vp, rf = (result(BY_NAME[name], make, lams, start) for make in (gauge.ve, gauge.vp, gauge.rf))
    size = ve.abs().max()
    assert torch.isfinite(ve).all()
    bound = 1e-14 if name in ("euler", "ddim", "dpmpp_2m") else 1e-12
    assert float((vp - ve).abs().max() / size) < bound
    assert float((rf - ve).abs().max() / size) < bound


def test_heun_is_the_trapezoid_of_its_gauge() -> None:
    lams = torch.linspace(-3, 3, 41, dtype=torch.float64).tolist()
    start = THREE.draw(8, torch.Generator().manual_seed(1)) + 20 * torch.randn(SHAPE, dtype=torch.float64)
    ve, rf = (result(heun, make, lams, start) for make in (gauge.ve, gauge.rf))
    exact = THREE.flow(start, [gauge.ve(lams[0]), gauge.ve(lams[-1])])[-1]
    assert float((ve - rf).abs().max()) > 1e-4
    assert float((ve - exact).abs().max()) < 0.05
    assert float((rf - exact).abs().max()) < 0.05


@pytest.mark.parametrize("make", [gauge.vp, gauge.rf])
@pytest.mark.parametrize("name", BY_NAME)
def test_a_walk_from_pure_noise_to_clean_is_finite_everywhere(name: str, make: gauge.Gauge) -> None:
    lams = [-torch.inf, *torch.linspace(-5, 4, 7).tolist(), torch.inf]
    levels = [make(lam) for lam in lams]
    assert levels[0].alpha == 0
    assert levels[-1].sigma == 0
    steps = list(BY_NAME[name](THREE, torch.randn(SHAPE, dtype=torch.float64), levels, WaveNoise(SHAPE)))
    for step in steps:
        assert torch.isfinite(step.x).all()
        assert torch.isfinite(step.x0).all()


@pytest.mark.parametrize("between", [[], [Level(0.5, 0.5)]])
@pytest.mark.parametrize("name", BY_NAME)
def test_one_step_and_two_from_pure_noise_are_finite(name: str, between: list[Level]) -> None:
    path = [Level(0.0, 1.0), *between, Level(1.0, 0.0)]
    *_, last = BY_NAME[name](THREE, torch.randn(SHAPE, dtype=torch.float64), path, WaveNoise(SHAPE))
    assert last.n == len(between) + 1
    assert torch.isfinite(last.x).all()


@pytest.mark.parametrize("name", [record.name for record in SAMPLERS if not record.stochastic])
def test_pure_noise_flows_to_where_the_ode_takes_it(name: str) -> None:
    x = torch.randn(SHAPE, dtype=torch.float64)
    early = gauge.rf(-12.0)  # from here on the exact flow; before, x0 is the mean of the data to six digits
    exact = THREE.flow(early.sigma * x + early.alpha * THREE.mean, [early, gauge.rf(6.0)])[-1]
    levels = [Level(1 - s, s) for s in torch.linspace(1, 0, 201, dtype=torch.float64).tolist()]
    *_, last = BY_NAME[name](THREE, x, levels, WaveNoise(SHAPE))
    assert float((last.x - exact).square().mean().sqrt()) < 0.03
