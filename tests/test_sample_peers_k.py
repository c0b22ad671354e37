"""Trajectories equal k-diffusion's, state by state, in float64: in its gauge (VE), and in all where ours is free of it.

Where conventions differ: k-diffusion's grids end at sigma = 0, A1111's DPM2 grid leaves one level out (a matter of the
grid, not of the sampler), and its Heun is the trapezoid of the VE gauge, so that only this gauge compares.
"""

import functools
from collections.abc import Callable

import pytest
import torch
from tests.mixture import THREE
from tests.peers import WaveNoise, k_sampling
from torch import Tensor

from scorefield.core.level import Level
from scorefield.sample.ancestral import ddim, euler_ancestral
from scorefield.sample.dpmpp import dpmpp_2m, dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde
from scorefield.sample.lms import lms
from scorefield.sample.one_step import Churn, dpm2, euler, heun
from scorefield.sample.walk import Sampler

SHAPE = (6, 2)
SCALES: dict[str, Callable[[float], float]] = {
    "ve": lambda sigma: 1.0,
    "vp": lambda sigma: (1 + sigma**2) ** -0.5,
    "rf": lambda sigma: 1 / (1 + sigma),
}
FREE = {
    "sample_euler": euler,
    "sample_euler_ancestral": euler_ancestral,
    "sample_dpm_2": dpm2,
    "sample_lms": lms,
    "sample_dpmpp_2m": dpmpp_2m,
    "sample_dpmpp_sde": dpmpp_sde,
    "sample_dpmpp_2m_sde": dpmpp_2m_sde,
    "sample_dpmpp_3m_sde": dpmpp_3m_sde,
}
NOISY = ("ancestral", "sde")


def sigmas(steps: int = 11) -> Tensor:
    return k_sampling().get_sigmas_karras(steps, 0.03, 20.0).double()


def theirs(name: str, start: Tensor, grid: Tensor, **options: object) -> tuple[list[Tensor], list[Tensor]]:
    states, x0s = [], []

    def keep(seen: dict[str, Tensor]) -> None:
        states.append(seen["x"])
        x0s.append(seen["denoised"])

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        return THREE(x, Level(1.0, float(sigma[0])))

    end = getattr(k_sampling(), name)(model, start, grid, callback=keep, disable=True, **options)
    return [*states, end], [*x0s, end]


def assert_same(
    sampler: Sampler,
    noise: Callable[[Level, Level], Tensor],
    found: tuple[list[Tensor], list[Tensor]],
    grid: Tensor,
    gauge: str,
) -> None:
    levels = [Level(a := SCALES[gauge](float(sigma)), a * float(sigma)) for sigma in grid]
    states, x0s = found
    steps = list(sampler(THREE, levels[0].alpha * states[0], levels, noise))
    assert len(steps) == len(states) == len(grid)
    for step, state, x0 in zip(steps, states, x0s, strict=True):
        assert torch.isfinite(state).all()
        torch.testing.assert_close(step.x / step.at.alpha, state, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(step.x0 / (step.at.alpha if step.i == step.n else 1), x0, rtol=1e-9, atol=1e-9)


def start_at(sigma: Tensor) -> Tensor:
    return float(sigma) * torch.randn(SHAPE, dtype=torch.float64)


@pytest.mark.parametrize("gauge", SCALES)
@pytest.mark.parametrize("name", FREE)
def test_the_trajectory_is_k_diffusions(name: str, gauge: str) -> None:
    noise, grid = WaveNoise(SHAPE), sigmas()
    options = {"noise_sampler": noise.of_sigmas} if name.endswith(NOISY) else {}
    found = theirs(name, start_at(grid[0]), grid, **options)
    assert_same(FREE[name], noise, found, grid, gauge)
    assert (noise.asked > 0) == name.endswith(NOISY)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.2])
@pytest.mark.parametrize("name", [name for name in FREE if name.endswith(NOISY)])
def test_the_share_of_fresh_noise_is_k_diffusions(name: str, eta: float) -> None:
    noise, grid = WaveNoise(SHAPE), sigmas()
    found = theirs(name, start_at(grid[0]), grid, noise_sampler=noise.of_sigmas, eta=eta)
    assert_same(functools.partial(FREE[name], eta=eta), noise, found, grid, "rf")


def test_ddim_with_eta_is_k_diffusions_euler_ancestral() -> None:
    noise, grid = WaveNoise(SHAPE), sigmas()
    found = theirs("sample_euler_ancestral", start_at(grid[0]), grid, noise_sampler=noise.of_sigmas, eta=0.8)
    assert_same(functools.partial(ddim, eta=0.8), noise, found, grid, "vp")


def test_the_heun_kind_of_2m_sde_is_k_diffusions() -> None:
    noise, grid = WaveNoise(SHAPE), sigmas()
    options = {"noise_sampler": noise.of_sigmas, "solver_type": "heun"}
    found = theirs("sample_dpmpp_2m_sde", start_at(grid[0]), grid, **options)
    assert_same(functools.partial(dpmpp_2m_sde, kind="heun"), noise, found, grid, "rf")


def test_another_middle_of_dpmpp_sde_is_k_diffusions() -> None:
    noise, grid = WaveNoise(SHAPE), sigmas()
    found = theirs("sample_dpmpp_sde", start_at(grid[0]), grid, noise_sampler=noise.of_sigmas, r=0.3)
    assert_same(functools.partial(dpmpp_sde, r=0.3), noise, found, grid, "vp")


def test_heun_is_k_diffusions_in_the_ve_gauge() -> None:
    grid = sigmas()
    assert_same(heun, WaveNoise(SHAPE), theirs("sample_heun", start_at(grid[0]), grid), grid, "ve")


@pytest.mark.parametrize(("name", "sampler"), [("sample_euler", euler), ("sample_heun", heun), ("sample_dpm_2", dpm2)])
def test_churn_is_k_diffusions(name: str, sampler: Callable[..., object]) -> None:
    grid = sigmas()
    start = start_at(grid[0])
    torch.manual_seed(3)
    options = {"s_churn": 4.0, "s_noise": 1.01, "s_tmax": 15.0}
    found = theirs(name, start, grid, **options)
    source = torch.Generator().manual_seed(3)
    skipped = torch.randn(SHAPE, generator=source, dtype=torch.float64)  # theirs draws above s_tmax too

    def noise(at: Level, to: Level) -> Tensor:
        return torch.randn(SHAPE, generator=source, dtype=torch.float64)

    churn = Churn(amount=4.0, scale=1.01, high=15.0)
    assert float(grid[0]) > churn.high > float(grid[1])
    assert torch.isfinite(skipped).all()
    assert_same(functools.partial(sampler, churn=churn), noise, found, grid, "ve")
