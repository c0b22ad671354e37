"""The stochastic samplers reach the distribution: mean and covariance of a mixture, within the Monte Carlo error."""

import functools

import pytest
import torch
from tests.mixture import THREE
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.level import Level
from scorefield.sample.ancestral import ddim, ddpm, euler_ancestral
from scorefield.sample.dpmpp import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde
from scorefield.sample.one_step import Churn, heun
from scorefield.sample.walk import Sampler

COUNT = 8000
DEVIATIONS = 4.0  # of the estimates' own spread

CASES = {
    "ddpm": (ddpm, 400),
    "ddim": (functools.partial(ddim, eta=0.5), 400),
    "euler_ancestral": (functools.partial(euler_ancestral, eta=0.8), 400),
    "dpmpp_sde": (dpmpp_sde, 50),
    "dpmpp_2m_sde": (dpmpp_2m_sde, 100),
    "dpmpp_2m_sde_heun": (functools.partial(dpmpp_2m_sde, kind="heun"), 100),
    "dpmpp_3m_sde": (dpmpp_3m_sde, 100),
    "heun with churn": (functools.partial(heun, churn=Churn(amount=20.0)), 100),
}


def deviations(sampler: Sampler, steps: int, loudness: float = 1.0) -> Tensor:
    """How many standard errors the mean (2) and the covariance (3) of the result are off."""
    source = torch.Generator().manual_seed(0)

    def noise(at: Level, to: Level) -> Tensor:
        return loudness * torch.randn(COUNT, 2, generator=source, dtype=torch.float64)

    levels = [gauge.rf(lam) for lam in [*torch.linspace(-3, 5, steps, dtype=torch.float64).tolist(), torch.inf]]
    start = levels[0].alpha * THREE.draw(COUNT, source)
    start = start + levels[0].sigma * torch.randn(COUNT, 2, generator=source, dtype=torch.float64)
    *_, last = sampler(THREE, start, levels, noise)
    assert torch.isfinite(last.x).all()
    away = last.x - THREE.mean
    products = torch.stack([away[:, 0] ** 2, away[:, 0] * away[:, 1], away[:, 1] ** 2], 1)
    wanted = THREE.covariance[[0, 0, 1], [0, 1, 1]]
    off = torch.cat([away.mean(0), products.mean(0) - wanted])
    return off.abs() / (torch.cat([away.std(0), products.std(0)]) / COUNT**0.5)


@pytest.mark.parametrize("name", CASES)
def test_the_mean_and_the_covariance_are_right(name: str) -> None:
    assert float(deviations(*CASES[name]).max()) < DEVIATIONS


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_2m_sde"])
def test_noise_that_is_a_fifth_too_quiet_is_noticed(name: str) -> None:
    assert float(deviations(*CASES[name], loudness=0.8).max()) > DEVIATIONS
