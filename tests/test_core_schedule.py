"""Training schedules against diffusers, and the ladders made of them."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from scorefield.core import clock, noise_schedule

SD = {"beta_start": 0.00085, "beta_end": 0.012}


def near(got: Tensor, want: Tensor, bound: float) -> None:
    assert got.shape == want.shape
    assert torch.isfinite(got).all()
    assert torch.isfinite(want).all()
    assert (got.double() - want.double()).abs().max() <= bound


@pytest.mark.parametrize(
    ("betas", "config"),
    [
        (noise_schedule.linear(), {"beta_schedule": "linear"}),
        (noise_schedule.linear(count=400), {"beta_schedule": "linear", "num_train_timesteps": 400}),
        (noise_schedule.scaled_linear(), {"beta_schedule": "scaled_linear", **SD}),
        (noise_schedule.cosine(), {"beta_schedule": "squaredcos_cap_v2"}),
    ],
)
def test_the_tables_are_those_of_diffusers(betas: Tensor, config: dict[str, float | str]) -> None:
    near(noise_schedule.cumulative(betas), DDIMScheduler(**config).alphas_cumprod, 1e-6)


def test_the_sigmoid_betas_are_those_of_ddpm_in_diffusers() -> None:
    near(noise_schedule.sigmoid(), DDPMScheduler(beta_schedule="sigmoid").betas, 1e-8)


def test_zero_snr_is_algorithm_1_and_ends_in_pure_noise() -> None:
    abar = noise_schedule.zero_snr(noise_schedule.cumulative(noise_schedule.scaled_linear()))
    theirs = DDIMScheduler(beta_schedule="scaled_linear", rescale_betas_zero_snr=True, **SD).alphas_cumprod
    near(abar, theirs, 1e-6)
    assert abar[-1] == 0
    assert noise_schedule.lams(abar)[-1] == -math.inf


def test_lams_are_half_the_log_signal_to_noise_ratio() -> None:
    abar = noise_schedule.cumulative(noise_schedule.linear())
    near(torch.exp(-2 * noise_schedule.lams(abar)), (1 - abar) / abar, 1e-9)


@pytest.mark.parametrize("zero_snr", [False, True])
def test_the_clock_inverts_the_ladder(zero_snr: bool) -> None:
    abar = noise_schedule.cumulative(noise_schedule.scaled_linear())
    table = noise_schedule.lams(noise_schedule.zero_snr(abar) if zero_snr else abar)
    ladder, index = noise_schedule.discrete(table), clock.discrete(table)
    rungs = [0, 1, 1.25, 500, 997.5, 998, 998.75, 999]
    near(torch.stack([index(ladder.lam(rung)) for rung in rungs]), torch.tensor(rungs), 1e-4)
    assert [index(ladder.lam(rung)).item() for rung in (0, 500, 999)] == [0, 500, 999]


def test_a_flow_ladder_counts_in_t_and_ends_in_pure_noise() -> None:
    ladder = noise_schedule.flow()
    times = [torch.sigmoid(-torch.tensor(ladder.lam(rung), dtype=torch.float64)) for rung in (0, 9.5, 499, 999)]
    near(torch.stack(times), torch.tensor([0.001, 0.0105, 0.5, 1.0], dtype=torch.float64), 1e-15)
    assert ladder.noisiest == -math.inf
    assert ladder.lam(-1) == math.inf


def test_a_log_sigma_ladder_runs_between_its_sigmas() -> None:
    ladder = noise_schedule.log_sigma(0.002, 80.0)
    assert ladder.cleanest == pytest.approx(-math.log(0.002), abs=1e-12)
    assert ladder.noisiest == pytest.approx(-math.log(80.0), abs=1e-12)


@pytest.mark.parametrize("table", [[1.0], [1.0, 1.0], [1.0, 2.0], [1.0, math.nan]])
def test_a_table_that_does_not_fall_is_refused(table: list[float]) -> None:
    with pytest.raises(ValueError, match="each noisier than the one before"):
        noise_schedule.discrete(torch.tensor(table))
