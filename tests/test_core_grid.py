"""Grids against diffusers' schedulers, k-diffusion's closed forms and published tables."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from scipy import stats
from tests.peers import k_sampling

from scorefield.core import beta_quantile, clock, gauge, grid, noise_schedule
from scorefield.core.level import Level

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ABAR = noise_schedule.cumulative(noise_schedule.scaled_linear())
DISCRETE = noise_schedule.discrete(noise_schedule.lams(ABAR))
ZERO_SNR = noise_schedule.discrete(noise_schedule.lams(noise_schedule.zero_snr(ABAR)))
FLOW = noise_schedule.flow()
LADDERS = {"discrete": DISCRETE, "zero_snr": ZERO_SNR, "flow": FLOW, "log_sigma": noise_schedule.log_sigma()}
S_MAX, S_MIN = math.exp(-DISCRETE.noisiest), math.exp(-DISCRETE.cleanest)


def near(got: object, want: object, bound: float) -> None:
    ours, theirs = (torch.as_tensor(value, dtype=torch.float64) for value in (got, want))
    assert ours.shape == theirs.shape
    assert torch.isfinite(ours).all()
    assert torch.isfinite(theirs).all()
    assert (ours - theirs).abs().max() <= bound


def alpha2(lams: list[float]) -> list[float]:
    return [gauge.vp(lam).alpha ** 2 for lam in lams]


def sigmas(lams: list[float]) -> list[float]:
    return [math.exp(-lam) for lam in lams]


def times(lams: list[float]) -> list[float]:
    return [gauge.rf(lam).sigma for lam in lams]


@pytest.mark.parametrize("steps", [2, 7, 10, 30, 50, 999])
@pytest.mark.parametrize(
    ("spacing", "offset", "made"),
    [
        ("leading", 0, grid.leading(DISCRETE)),
        ("leading", 1, grid.leading(DISCRETE, offset=1)),
        ("trailing", 0, grid.trailing(DISCRETE)),
        ("linspace", 0, grid.linspace(DISCRETE)),
    ],
)
def test_the_spacings_are_those_of_ddpm_and_ddim_in_diffusers(
    spacing: str, offset: int, made: grid.Grid, steps: int
) -> None:
    for kind in (DDIMScheduler, DDPMScheduler):
        theirs = kind(**SD, timestep_spacing=spacing, steps_offset=offset)
        theirs.set_timesteps(steps)
        lams = made(steps)
        near(alpha2(lams[:-1]), theirs.alphas_cumprod[theirs.timesteps], 1e-6)
        assert lams[-1] == math.inf


def test_one_step_starts_at_the_noisiest_level_where_theirs_would_start_clean() -> None:
    for made in (grid.linspace(DISCRETE), grid.trailing(DISCRETE)):
        assert made(1) == [DISCRETE.noisiest, math.inf]


def test_the_spacings_round_as_numpy_does_for_every_number_of_steps() -> None:
    table = noise_schedule.lams(ABAR)
    for steps in range(2, 1000, 3):
        near(grid.linspace(DISCRETE)(steps)[:-1], table[np.linspace(0, 999, steps).round()[::-1].copy()], 0)
        near(grid.trailing(DISCRETE)(steps)[:-1], table[np.arange(1000, 0, -1000 / steps).round()[:steps] - 1], 0)


@pytest.mark.parametrize("steps", [1, 10, 25, 30])
@pytest.mark.parametrize(
    ("spacing", "made"),
    [
        ("linspace", grid.skip_last(grid.linspace(DISCRETE))),
        ("leading", grid.skip_last(grid.leading(DISCRETE, offset=1))),
        ("trailing", grid.trailing(DISCRETE)),
    ],
)
def test_the_spacings_of_dpm_solver_leave_the_last_level_out(spacing: str, made: grid.Grid, steps: int) -> None:
    theirs = DPMSolverMultistepScheduler(**SD, timestep_spacing=spacing, steps_offset=1)
    theirs.set_timesteps(steps)
    near(alpha2(made(steps)[:-1]), theirs.alphas_cumprod[theirs.timesteps], 1e-6)


def test_a_grid_may_end_at_the_first_training_level() -> None:
    theirs = DDIMScheduler(**SD, set_alpha_to_one=False)
    lams = grid.ending_at(grid.leading(DISCRETE, offset=1), DISCRETE.cleanest)(20)
    assert len(lams) == 21
    near(alpha2(lams[-1:]), theirs.final_alpha_cumprod.reshape(1), 1e-6)


def test_zero_snr_starts_at_alpha_0_exactly() -> None:
    theirs = DDIMScheduler(**SD, timestep_spacing="trailing", rescale_betas_zero_snr=True)
    theirs.set_timesteps(10)
    made = grid.levels(gauge.vp, grid.trailing(ZERO_SNR)(10))
    near([at.alpha**2 for at in made[:-1]], theirs.alphas_cumprod[theirs.timesteps], 1e-6)
    assert made[0] == Level(0.0, 1.0)
    assert made[-1] == Level(1.0, 0.0)


@pytest.mark.parametrize("steps", [2, 10, 25])
@pytest.mark.parametrize(
    ("option", "made"),
    [
        ("use_karras_sigmas", grid.karras(DISCRETE)),
        ("use_exponential_sigmas", grid.exponential(DISCRETE)),
        ("use_beta_sigmas", grid.beta_sigma(DISCRETE)),
    ],
)
def test_the_sigma_grids_are_those_of_diffusers(option: str, made: grid.Grid, steps: int) -> None:
    theirs = EulerDiscreteScheduler(**SD, **{option: True})
    theirs.set_timesteps(steps)
    # Their end points are float32 sigmas of up to 14.6, raised to the power of 7 on the way.
    near(sigmas(made(steps)), theirs.sigmas, 5e-5)


def test_normal_is_eulers_linspace_in_diffusers() -> None:
    theirs = EulerDiscreteScheduler(**SD, timestep_spacing="linspace")
    theirs.set_timesteps(10)  # 999 / 9 is whole, so their interpolation in sigma and ours in lam agree
    near(sigmas(grid.normal(DISCRETE)(10)), theirs.sigmas, 1e-5)


@pytest.mark.parametrize("steps", [2, 10, 25])
def test_the_sigma_grids_are_k_diffusions_closed_forms(steps: int) -> None:
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = S_MIN ** (1 / 7), S_MAX ** (1 / 7)
    near(sigmas(grid.karras(DISCRETE)(steps)[:-1]), (high + ramp * (low - high)) ** 7, 1e-12)
    line = torch.linspace(math.log(S_MAX), math.log(S_MIN), steps, dtype=torch.float64)
    near(sigmas(grid.exponential(DISCRETE)(steps)[:-1]), line.exp(), 1e-12)
    poly = torch.linspace(1, 0, steps, dtype=torch.float64) ** 2.5 * math.log(S_MAX / S_MIN) + math.log(S_MIN)
    near(sigmas(grid.polyexponential(DISCRETE, rho=2.5)(steps)[:-1]), poly.exp(), 1e-12)


@pytest.mark.parametrize("steps", [2, 10, 25])
def test_the_sigma_grids_are_those_of_the_k_diffusion_package(steps: int) -> None:
    theirs = k_sampling()
    pairs = [
        (grid.karras(DISCRETE), theirs.get_sigmas_karras(steps, S_MIN, S_MAX)),
        (grid.karras(DISCRETE, rho=5.0), theirs.get_sigmas_karras(steps, S_MIN, S_MAX, rho=5.0)),
        (grid.exponential(DISCRETE), theirs.get_sigmas_exponential(steps, S_MIN, S_MAX)),
        (grid.polyexponential(DISCRETE, rho=0.8), theirs.get_sigmas_polyexponential(steps, S_MIN, S_MAX, rho=0.8)),
    ]
    for made, want in pairs:
        near(made(steps)[:-1], -want[:-1].double().log(), 3e-6)  # relative in sigma, theirs in float32
        assert want[-1] == 0


def test_kl_optimal_is_even_in_the_angle() -> None:
    angles = [math.atan(sigma) for sigma in sigmas(grid.kl_optimal(DISCRETE)(9)[:-1])]
    near(angles, np.linspace(math.atan(S_MAX), math.atan(S_MIN), 9), 1e-12)


def test_sgm_uniform_and_simple_visit_the_rungs_of_comfyui() -> None:
    near(grid.sgm_uniform(DISCRETE)(10)[:-1], [DISCRETE.lam(999 * (1 - k / 10)) for k in range(10)], 1e-9)
    table = noise_schedule.lams(ABAR)
    near(grid.simple(DISCRETE)(30)[:-1], [table[-(1 + int(k * 1000 / 30))] for k in range(30)], 1e-12)
    near(grid.ddim_uniform(DISCRETE)(25)[:-1], table[1::40].flip(0), 1e-12)


def test_beta_visits_the_rungs_of_comfyui_before_their_rounding() -> None:
    shares = 1 - np.linspace(0, 1, 20, endpoint=False)
    rungs = stats.beta.ppf(shares, 0.6, 0.6) * 999
    near(grid.beta(DISCRETE)(20)[:-1], [DISCRETE.lam(rung) for rung in rungs], 1e-9)


@pytest.mark.parametrize(("a", "b"), [(0.6, 0.6), (0.5, 0.7), (1.0, 1.0), (2.0, 5.0)])
def test_the_quantiles_are_scipys(a: float, b: float) -> None:
    shares = torch.linspace(0, 1, 41, dtype=torch.float64)
    near(beta_quantile.quantile(shares, a, b), stats.beta.ppf(shares.numpy(), a, b), 1e-11)


def test_trailing_on_a_flow_is_wans_grid_with_its_shift() -> None:
    wan = [1.0, 0.97826, 0.95238, 0.92105, 0.88235, 0.83333, 0.76923, 0.68182, 0.55556, 0.35714, 0.0]
    near(times(grid.trailing(noise_schedule.shifted(FLOW, 5.0))(10)), wan, 5e-6)


@pytest.mark.parametrize("shift", [1.0, 1.15, 3.0])
def test_the_flow_grids_are_those_of_diffusers(shift: float) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(sigmas=np.linspace(1.0, 1 / 13, 13))
    near(times(grid.trailing(noise_schedule.shifted(FLOW, shift))(13)), theirs.sigmas, 1e-6)
    plain = FlowMatchEulerDiscreteScheduler()
    plain.set_timesteps(13)
    near(times(grid.linspace(FLOW)(13)), plain.sigmas, 1e-6)


def test_linear_quadratic_is_mochis() -> None:
    want = [1, 0.991667, 0.983333, 0.975, 0.861111, 0.536111, 0]
    near(times(grid.linear_quadratic(FLOW)(6)), want, 1e-6)
    near(times(grid.linear_quadratic(FLOW)(1)), [1, 0], 0)


@pytest.mark.parametrize("ladder", LADDERS)
@pytest.mark.parametrize("name", grid.SCHEDULES)
def test_every_grid_serves_every_model(name: str, ladder: str) -> None:
    for steps in (1, 2, 3, 20, 100):
        lams = grid.find(name)(LADDERS[ladder])(steps)
        assert len(lams) == steps + 1
        assert all(low < high for low, high in pairwise(lams))
        assert all(math.isfinite(lam) for lam in lams[1:-1])
        made = grid.levels(gauge.vp, lams)
        assert made[-1] == Level(1.0, 0.0)
        if name == "flow_unipc" or (name, ladder) in {("flow_unipc_diffusers", one) for one in ("flow", "zero_snr")}:
            # As published, they leave pure noise out.
            assert LADDERS[ladder].noisiest < lams[0]
            continue
        if name not in ("leading", "ddim_uniform") or ladder in ("flow", "log_sigma"):
            assert lams[0] == pytest.approx(LADDERS[ladder].noisiest, abs=1e-12)
        if ladder == "flow":
            assert grid.levels(gauge.rf, lams)[0] == Level(0.0, 1.0)


def test_levels_refuse_a_grid_that_does_not_rise() -> None:
    for lams in ([], [1.0], [0.0, 0.0], [1.0, 0.0], [math.nan, 1.0]):
        with pytest.raises(ValueError, match="each cleaner than the one before"):
            grid.levels(gauge.vp, lams)


def test_the_ve_gauge_refuses_pure_noise_and_takes_finite_grids() -> None:
    with pytest.raises(ValueError, match="no level of pure noise"):
        grid.levels(gauge.ve, grid.karras(FLOW)(5))
    assert grid.levels(gauge.ve, grid.karras(DISCRETE)(5))[-1] == Level(1.0, 0.0)


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_are_refused(steps: int) -> None:
    for name in grid.SCHEDULES:
        with pytest.raises(ValueError, match="at least 1 step"):
            grid.find(name)(DISCRETE)(steps)


def test_more_steps_than_trained_levels_are_refused_by_whole_spacings() -> None:
    for name in ("leading", "trailing", "linspace", "simple"):
        assert len(grid.find(name)(DISCRETE)(1000)) == 1001
        with pytest.raises(ValueError, match="at most 1000 steps, not 1001"):
            grid.find(name)(DISCRETE)(1001)


def test_a_shift_must_be_positive() -> None:
    with pytest.raises(ValueError, match="above 0"):
        noise_schedule.shifted(FLOW, 0.0)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Karras", "karras"),
        ("SGM Uniform", "sgm_uniform"),
        ("KL Optimal", "kl_optimal"),
        ("DDIM", "ddim_uniform"),
        ("Uniform", "normal"),
        ("discrete", "normal"),
        ("linear-quadratic", "linear_quadratic"),
        ("use_karras_sigmas", "karras"),
    ],
)
def test_the_names_of_other_programs_are_understood(typed: str, name: str) -> None:
    assert grid.find(typed) is grid.SCHEDULES[name]


def test_every_alias_leads_somewhere() -> None:
    assert set(grid.ALIASES.values()) <= set(grid.SCHEDULES)
    assert not set(grid.ALIASES) & set(grid.SCHEDULES)


def test_an_unknown_name_is_one_line_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown schedule 'karas'; nearest: karras") as caught:
        grid.find("karas")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"unknown schedule 'qqq'; known: beta, .*trailing"):
        grid.find("qqq")


def test_the_clock_of_whole_steps_cuts_as_published_schedulers_do() -> None:
    lams = [math.log1p(-t) - math.log(t) for t in (0.999, 0.9998, 0.97805, 0.35689, 0.0004)]
    assert [clock.flow_whole(lam).item() for lam in lams] == [999, 999, 978, 356, 0]
    assert clock.flow_whole(-math.inf).item() == 1000


def test_the_schedule_of_wan_is_the_published_table() -> None:
    table = [0.99980, 0.97805, 0.95215, 0.92081, 0.88209, 0.83306, 0.76893, 0.68151, 0.55525, 0.35689]
    near(times(grid.flow_unipc(noise_schedule.shifted(FLOW, 5))(10)[:-1]), table, 6e-6)
