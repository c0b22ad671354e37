"""The mathematics of the design: levels, gauges and the table of predictions, as identities in float64."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scorefield.core import gauge, predict
from scorefield.core.level import Level, eps_of, noisy, per_sample

GAUGES = [gauge.ve, gauge.vp, gauge.rf]
SIGMA_DATA = 0.5
TABLE: dict[str, predict.Prediction] = {
    "eps": predict.eps,
    "v": predict.v,
    "flow": predict.flow,
    "x0": predict.x0,
    "edm": predict.edm(SIGMA_DATA),
}
SHAPE = (9, 3, 4)
LAMS = torch.linspace(-6, 6, 9, dtype=torch.float64)


def clean() -> Tensor:
    return torch.randn(SHAPE, dtype=torch.float64)


def karras_target(x0: Tensor, eps: Tensor, at: Level) -> Tensor:
    """EDM's effective training target (Karras et al. 2022, eq. 8), written out in the VE gauge."""
    sigma = per_sample(at.sigma / at.alpha, x0)
    skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
    out = sigma * SIGMA_DATA / (sigma**2 + SIGMA_DATA**2).sqrt()
    return (x0 - skip * (x0 + sigma * eps)) / out


def turned(x0: Tensor, eps: Tensor, at: Level) -> Tensor:
    """v of the VP state at this lam."""
    norm = per_sample((at.alpha**2 + at.sigma**2).sqrt(), x0)
    return (per_sample(at.alpha, x0) * eps - per_sample(at.sigma, x0) * x0) / norm


MEANINGS: dict[str, Callable[[Tensor, Tensor, Level], Tensor]] = {
    "eps": lambda x0, eps, at: eps,
    "v": turned,
    "flow": lambda x0, eps, at: eps - x0,
    "x0": lambda x0, eps, at: x0,
    "edm": karras_target,
}


def same(found: Tensor, wanted: Tensor, bound: float = 1e-13) -> None:
    assert torch.isfinite(found).all()
    assert torch.isfinite(wanted).all()
    assert float((found - wanted).abs().max()) <= bound * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("make", GAUGES)
@pytest.mark.parametrize("name", TABLE)
def test_the_target_is_what_the_network_is_said_to_predict(name: str, make: gauge.Gauge) -> None:
    x0, eps, at = clean(), clean(), make(LAMS)
    found = predict.target(TABLE[name], noisy(x0, eps, at), x0, at)
    assert torch.isfinite(found).all()
    # (x0 - c_skip x) / c_out cancels where c_out is small: the rounding of x is seen through 1 / c_out
    c_out = per_sample(torch.as_tensor(TABLE[name](at).c_out, dtype=torch.float64).expand(len(LAMS)), x0)
    error = (found - MEANINGS[name](x0, eps, at)).abs() * c_out.abs().clamp(max=1)
    assert float(error.max()) <= 1e-13


@pytest.mark.parametrize("make", GAUGES)
@pytest.mark.parametrize("name", TABLE)
def test_the_denoiser_of_the_right_answer_is_the_clean_picture(name: str, make: gauge.Gauge) -> None:
    x0, eps, at = clean(), clean(), make(LAMS)
    scales, x = TABLE[name](at), noisy(x0, eps, at)
    answer = MEANINGS[name](x0, eps, at)
    denoised = per_sample(scales.c_skip, x) * x + per_sample(scales.c_out, x) * answer
    size = per_sample(torch.as_tensor(scales.c_skip, dtype=torch.float64).expand(len(LAMS)), x).abs() * x.abs() + 1
    assert torch.isfinite(denoised).all()
    assert float(((denoised - x0) / size).abs().max()) <= 1e-13


@pytest.mark.parametrize("name", TABLE)
def test_the_network_and_its_answer_do_not_know_the_gauge(name: str) -> None:
    x0, eps = clean(), clean()
    inputs, ratios = [], []
    for make in GAUGES:
        at = make(LAMS)
        scales = TABLE[name](at)
        inputs.append(per_sample(scales.c_in, x0) * noisy(x0, eps, at))
        ratios.append(torch.as_tensor(scales.c_out, dtype=torch.float64).expand(len(LAMS)))
    for other in (1, 2):
        same(inputs[other], inputs[0])
        same(ratios[other], ratios[0])


@pytest.mark.parametrize("make", GAUGES)
def test_the_networks_see_the_states_that_they_were_trained_on(make: gauge.Gauge) -> None:
    x0, eps, at = clean(), clean(), make(LAMS)
    x = noisy(x0, eps, at)
    for name, native in (("eps", gauge.vp), ("v", gauge.vp), ("x0", gauge.vp), ("flow", gauge.rf)):
        same(per_sample(TABLE[name](at).c_in, x) * x, noisy(x0, eps, native(LAMS)))
    variance = TABLE["edm"](at).c_in ** 2 * (at.alpha**2 * SIGMA_DATA**2 + at.sigma**2)
    same(variance, torch.ones_like(variance))


@pytest.mark.parametrize("name", ["v", "flow", "x0", "edm"])
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_pure_noise_is_no_singularity(name: str, kind: Callable[[float], float | Tensor]) -> None:
    at = Level(kind(0.0), kind(1.0))
    assert all(math.isfinite(scale) for scale in TABLE[name](at))


def test_eps_alone_is_singular_at_pure_noise() -> None:
    with pytest.raises(ZeroDivisionError):
        predict.eps(Level(0.0, 1.0))


@pytest.mark.parametrize("name", ["eps", "v", "flow"])
def test_a_clean_state_is_its_own_picture(name: str) -> None:
    scales = TABLE[name](Level(0.7, 0.0))
    assert scales.c_skip == pytest.approx(1 / 0.7, rel=1e-15)
    assert scales.c_out == 0


@pytest.mark.parametrize("make", GAUGES)
def test_a_gauge_keeps_lam(make: gauge.Gauge) -> None:
    for lam in (-30.0, -3.0, 0.0, 0.5, 12.0, 30.0):
        assert make(lam).lam == pytest.approx(lam, rel=1e-14, abs=1e-14)
    same(torch.as_tensor(make(LAMS).lam), LAMS)


@pytest.mark.parametrize("make", [gauge.vp, gauge.rf])
def test_a_gauge_ends_in_pure_noise_and_in_the_picture(make: gauge.Gauge) -> None:
    assert make(-math.inf) == (0.0, 1.0)
    assert make(math.inf) == (1.0, 0.0)
    assert make(-math.inf).lam == -math.inf
    assert make(math.inf).lam == math.inf
    ends = make(torch.tensor([-math.inf, math.inf], dtype=torch.float64))
    assert ends.alpha.tolist() == [0.0, 1.0]
    assert ends.sigma.tolist() == [1.0, 0.0]


def test_each_gauge_keeps_its_own_sum() -> None:
    assert gauge.ve(2.0) == (1.0, pytest.approx(math.exp(-2.0), rel=1e-15))
    for lam in (-7.0, 0.0, 3.0):
        assert sum(part**2 for part in gauge.vp(lam)) == pytest.approx(1, rel=1e-15)
        assert sum(gauge.rf(lam)) == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize("make", GAUGES)
def test_a_states_noise_comes_back(make: gauge.Gauge) -> None:
    x0, eps, at = clean(), clean(), make(LAMS.clamp(max=4))
    same(eps_of(noisy(x0, eps, at), x0, at), eps, 1e-12)
    one = make(1.5)
    same(eps_of(noisy(x0, eps, one), x0, one), eps)


def test_a_batch_of_levels_is_each_level_alone() -> None:
    x0, eps, at = clean(), clean(), gauge.vp(LAMS)
    for b, lam in enumerate(LAMS.tolist()):
        same(noisy(x0, eps, at)[b], noisy(x0[b], eps[b], gauge.vp(lam)), 1e-15)
