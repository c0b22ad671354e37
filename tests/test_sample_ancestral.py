"""One formula under many names: DDPM, DDIM, "ancestral", Euler, the flow step, the exponential step."""

import functools
import math

import pytest
import torch
from tests.mixture import THREE
from tests.peers import WaveNoise
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.level import Level, eps_of
from scorefield.sample import formulas
from scorefield.sample.ancestral import ddim, ddpm, euler_ancestral
from scorefield.sample.dpmpp import dpmpp_2m, dpmpp_2m_sde
from scorefield.sample.one_step import euler
from scorefield.sample.walk import Sampler

GAUGES = [gauge.ve, gauge.vp, gauge.rf]
SHAPE = (5, 2)
NEAR, FAR = 1e-14, 1e-12


def pair(make: gauge.Gauge) -> tuple[Level, Level]:
    return make(-0.7), make(0.4)


def tensors() -> tuple[Tensor, Tensor, Tensor]:
    x, x0, z = torch.randn(3, *SHAPE, dtype=torch.float64)
    return x, x0, z


def same(found: Tensor, wanted: Tensor, bound: float = NEAR) -> None:
    assert torch.isfinite(found).all()
    assert float((found - wanted).abs().max()) <= bound * float(wanted.abs().max())


def states(sampler: Sampler, make: gauge.Gauge) -> Tensor:
    levels = [make(lam) for lam in torch.linspace(-3, 3, 9).tolist()]
    start = levels[0].sigma * torch.ones(SHAPE, dtype=torch.float64)
    return torch.stack([step.x for step in sampler(THREE, start, levels, WaveNoise(SHAPE))])


@pytest.mark.parametrize("make", GAUGES)
def test_ddpm_is_ddim_with_eta_one_is_euler_ancestral(make: gauge.Gauge) -> None:
    wanted = states(ddpm, make)
    assert torch.equal(states(functools.partial(ddim, eta=1.0), make), wanted)
    assert torch.equal(states(euler_ancestral, make), wanted)


@pytest.mark.parametrize("make", GAUGES)
def test_the_euler_step_is_ddim(make: gauge.Gauge) -> None:
    assert torch.equal(states(ddim, make), states(euler, make))


@pytest.mark.parametrize("make", GAUGES)
def test_2m_is_the_2m_sde_without_noise(make: gauge.Gauge) -> None:
    assert torch.equal(states(dpmpp_2m, make), states(functools.partial(dpmpp_2m_sde, eta=0.0), make))


def test_the_ancestral_step_is_the_posterior_of_ddpm() -> None:
    """Ho et al. 2020, eq. 7, from abar and beta."""
    (x, x0, z), (at, to) = tensors(), pair(gauge.vp)
    bar, bar_to = at.alpha**2, to.alpha**2
    beta = 1 - bar / bar_to
    mean = math.sqrt(bar_to) * beta / (1 - bar) * x0 + math.sqrt(1 - beta) * (1 - bar_to) / (1 - bar) * x
    wanted = mean + math.sqrt((1 - bar_to) / (1 - bar) * beta) * z
    same(formulas.renoise_step(x, x0, at, to, formulas.ancestral(at, to, 1.0), lambda at, to: z), wanted)


def test_the_large_variance_is_beta() -> None:
    at, to = pair(gauge.vp)
    x = torch.randn(SHAPE, dtype=torch.float64)
    beta = 1 - (at.alpha / to.alpha) ** 2
    silent, loud = (
        list(
            ddpm(THREE, x, [at, to], lambda at, to, size=size: torch.full(SHAPE, size, dtype=torch.float64), large=True)
        )
        for size in (0.0, 1.0)
    )
    same(loud[1].x - silent[1].x, torch.full(SHAPE, math.sqrt(beta), dtype=torch.float64), FAR)


def test_the_large_variance_does_not_depend_on_the_gauge() -> None:
    large = functools.partial(ddpm, large=True)
    levels = [[make(lam) for lam in (-2.0, -0.5, 0.5, 3.0, math.inf)] for make in GAUGES]
    start = torch.randn(SHAPE, dtype=torch.float64)
    ve, vp, rf = ([s.x / s.at.alpha for s in large(THREE, p[0].alpha * start, p, WaveNoise(SHAPE))] for p in levels)
    for one, two, three in zip(ve, vp, rf, strict=True):
        same(two, one, FAR)
        same(three, one, FAR)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_the_share_of_fresh_noise_is_that_of_ddim(eta: float) -> None:
    """Song et al. 2021a, eq. 16, and the form that holds in every gauge."""
    at, to = pair(gauge.vp)
    bar, bar_to = at.alpha**2, to.alpha**2
    kept, fresh = formulas.ancestral(at, to, eta)
    assert fresh == pytest.approx(eta * math.sqrt((1 - bar_to) / (1 - bar) * (1 - bar / bar_to)), abs=NEAR)
    for make in GAUGES:
        at, to = pair(make)
        kept, fresh = formulas.ancestral(at, to, eta)
        ratio = at.alpha * to.sigma / (to.alpha * at.sigma)
        assert fresh == pytest.approx(eta * to.sigma * math.sqrt(1 - ratio**2), abs=NEAR)
        assert math.hypot(kept, fresh) == pytest.approx(to.sigma, rel=NEAR)


@pytest.mark.parametrize("make", GAUGES)
def test_both_splits_are_the_reverse_sde_at_eta_one(make: gauge.Gauge) -> None:
    at, to = pair(make)
    assert formulas.reverse_sde(at, to, 1.0) == pytest.approx(formulas.ancestral(at, to, 1.0), rel=NEAR)
    assert formulas.reverse_sde(at, to, 0.5) != pytest.approx(formulas.ancestral(at, to, 0.5), rel=1e-3)


@pytest.mark.parametrize("make", GAUGES)
def test_the_straight_step_is_the_exponential_one(make: gauge.Gauge) -> None:
    (x, x0, _), (at, to) = tensors(), pair(make)
    h = to.lam - at.lam
    same(formulas.ddim_step(x, x0, at, to), (to.sigma / at.sigma) * x + to.alpha * (1 - math.exp(-h)) * x0)
    same(formulas.ddim_step(x, x0, at, to), to.alpha * x0 + to.sigma * eps_of(x, x0, at))


def test_the_straight_step_is_the_flow_step_in_the_rf_gauge() -> None:
    (x, x0, _), (at, to) = tensors(), pair(gauge.rf)
    same(formulas.ddim_step(x, x0, at, to), x + (to.sigma - at.sigma) * (eps_of(x, x0, at) - x0))
