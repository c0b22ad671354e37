"""Trajectories equal diffusers' schedulers on the same denoiser, to 1e-5: parts of theirs are float32.

Where conventions differ: its sigma schedulers walk in the VE gauge whatever the model; its spacings and final sigmas
are grids, so each test reads the levels off the scheduler; and DDIM with clipped x0 keeps the unclipped noise there,
where ours follows from the x0 that the denoiser gives. Its third-order SDE solver has no part in this: the curvature
enters it with another sign than in k-diffusion.
"""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.mixture import THREE
from tests.peers import WaveNoise, scheduler
from torch import Tensor

from scorefield.core.level import Level
from scorefield.sample.ancestral import ddim, ddpm, euler_ancestral
from scorefield.sample.dpmpp import dpmpp_2m, dpmpp_2m_sde, dpmpp_sde
from scorefield.sample.lms import lms
from scorefield.sample.one_step import dpm2, euler, heun
from scorefield.sample.unipc import unipc
from scorefield.sample.walk import Sampler

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # its numpy use, thousands of times

SHAPE = (6, 2, 1, 1)  # diffusers' UniPC wants channels


def denoise(x: Tensor, at: Level) -> Tensor:
    return THREE(x.flatten(1).double(), at).reshape(x.shape)


def level(gauge: str, sigma: float) -> Level:
    if gauge == "rf":
        return Level(1 - sigma, sigma)
    alpha = 1.0 if gauge == "ve" else (1 + sigma**2) ** -0.5
    return Level(alpha, alpha * sigma)


def eps(x: Tensor, at: Level) -> Tensor:
    return (x - at.alpha * denoise(x, at)) / at.sigma


def flow(x: Tensor, at: Level) -> Tensor:
    return eps(x, at) - denoise(x, at)


def assert_same(
    sampler: Sampler, levels: list[Level], states: list[Tensor], noise: Callable[[Level, Level], Tensor]
) -> None:
    steps = list(sampler(denoise, states[0], levels, noise))
    assert len(steps) == len(states) == len(levels)
    for step, state in zip(steps, states, strict=True):
        assert torch.isfinite(state).all()
        scale = (step.at.alpha**2 + step.at.sigma**2) ** 0.5
        torch.testing.assert_close(step.x / scale, state.double() / scale, rtol=0, atol=1e-5)


def no_noise(at: Level, to: Level) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def same_seed() -> tuple[torch.Generator, Callable[[Level, Level], Tensor]]:
    ours, theirs = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    return theirs, lambda at, to: torch.randn(SHAPE, generator=ours, dtype=torch.float64)


def in_sigma(made: Any, steps: int, **options: object) -> tuple[list[Level], list[Tensor]]:
    """Walk a scheduler that works in VE sigmas, its two-evaluation ones as well: levels, and the state at each."""
    made.set_timesteps(steps)
    x = torch.randn(SHAPE, dtype=torch.float64) * made.sigmas[0].double()
    levels, states = [], []
    for t in made.timesteps:
        made.scale_model_input(x, t)  # it finds its place in the list only here
        first = getattr(made, "state_in_first_order", True)
        sigma = float(made.sigmas[made.step_index])
        if first:
            levels.append(Level(1.0, sigma))
            states.append(x)
        elif hasattr(made, "sigmas_interpol"):
            sigma = float(made.sigmas_interpol[made.step_index])
        elif getattr(made, "mid_point_sigma", None) is not None:
            sigma = float(made.mid_point_sigma)
        x = made.step(eps(x, Level(1.0, sigma)), t, x, **options).prev_sample
    return [*levels, Level(1.0, 0.0)], [*states, x]


def in_gauge(
    made: Any, steps: int, gauge: str, options: Callable[[int, list[Level]], dict[str, object]]
) -> tuple[list[Level], list[Tensor]]:
    """Walk a scheduler of one evaluation whose `sigmas` list has one entry a level."""
    made.set_timesteps(steps)
    levels = [level(gauge, float(sigma)) for sigma in made.sigmas]
    states = [torch.randn(SHAPE, dtype=torch.float64) * (levels[0].alpha ** 2 + levels[0].sigma ** 2) ** 0.5]
    predict = flow if gauge == "rf" else eps
    for i, t in enumerate(made.timesteps):
        x = states[-1]
        states.append(made.step(predict(x, levels[i]), t, x, **options(i, levels)).prev_sample)
    return levels, states


def in_index(
    made: Any, steps: int, last: float, options: Callable[[int, Level, Level], dict[str, object]]
) -> tuple[list[Level], list[Tensor]]:
    """Walk a scheduler that reads alphas_cumprod at integer timesteps; `last` is the one past the end."""
    made.set_timesteps(steps)
    bars = [*(float(made.alphas_cumprod[t]) for t in made.timesteps), last]
    levels = [Level(bar**0.5, (1 - bar) ** 0.5) for bar in bars]
    states = [torch.randn(SHAPE, dtype=torch.float64)]
    for i, t in enumerate(made.timesteps):
        x = states[-1]
        states.append(made.step(eps(x, levels[i]), t, x, **options(i, levels[i], levels[i + 1])).prev_sample)
    return levels, states


def plain(i: int, levels: list[Level]) -> dict[str, object]:
    return {}


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize(
    ("name", "sampler"),
    [
        ("EulerDiscreteScheduler", euler),
        ("HeunDiscreteScheduler", heun),
        ("LMSDiscreteScheduler", lms),
        ("KDPM2DiscreteScheduler", dpm2),
    ],
)
def test_the_sigma_schedulers_agree(name: str, sampler: Sampler, karras: bool) -> None:
    levels, states = in_sigma(scheduler(name, use_karras_sigmas=karras), 12)
    assert_same(sampler, levels, states, no_noise)


def test_euler_ancestral_agrees() -> None:
    theirs, noise = same_seed()
    levels, states = in_sigma(scheduler("EulerAncestralDiscreteScheduler"), 12, generator=theirs)
    assert_same(euler_ancestral, levels, states, noise)


def test_dpmpp_sde_agrees_with_the_dpm_solver_sde_scheduler() -> None:
    made, noise = scheduler("DPMSolverSDEScheduler", use_karras_sigmas=True), WaveNoise(SHAPE)
    made.set_timesteps(12)
    kept = made.set_timesteps
    made.set_timesteps = lambda steps: kept(steps) or setattr(made, "noise_sampler", noise.of_sigmas)
    levels, states = in_sigma(made, 12)
    assert_same(dpmpp_sde, levels, states, noise)
    assert noise.asked > 0


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("to_one", [False, True])
def test_ddim_agrees(eta: float, to_one: bool) -> None:
    made, noise = (
        scheduler("DDIMScheduler", clip_sample=False, set_alpha_to_one=to_one, steps_offset=1),
        WaveNoise(SHAPE),
    )
    levels, states = in_index(
        made,
        12,
        float(made.final_alpha_cumprod),
        lambda i, at, to: {"eta": eta, "variance_noise": noise(at, to) if eta else None},
    )
    assert_same(functools.partial(ddim, eta=eta), levels, states, noise if eta else no_noise)


@pytest.mark.parametrize("large", [False, True])
def test_ddpm_agrees(large: bool) -> None:
    made = scheduler("DDPMScheduler", clip_sample=False, variance_type="fixed_large" if large else "fixed_small")
    theirs, noise = same_seed()
    levels, states = in_index(made, 12, 1.0, lambda i, at, to: {"generator": theirs})
    assert_same(functools.partial(ddpm, large=large), levels, states, noise)


@pytest.mark.parametrize("kind", ["midpoint", "heun"])
@pytest.mark.parametrize("steps", [6, 9, 20])
def test_dpmpp_2m_agrees(kind: str, steps: int) -> None:
    made = scheduler("DPMSolverMultistepScheduler", solver_type=kind, use_karras_sigmas=True)
    levels, states = in_gauge(made, steps, "vp", plain)
    assert_same(functools.partial(dpmpp_2m, kind=kind), levels, states, no_noise)


@pytest.mark.parametrize("kind", ["midpoint", "heun"])
def test_dpmpp_2m_sde_agrees(kind: str) -> None:
    made = scheduler("DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++", solver_type=kind)
    noise = WaveNoise(SHAPE)
    levels, states = in_gauge(made, 16, "vp", lambda i, at: {"variance_noise": noise(at[i], at[i + 1])})
    assert_same(functools.partial(dpmpp_2m_sde, kind=kind), levels, states, noise)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("final", [True, False])
def test_unipc_bh2_agrees(order: int, final: bool) -> None:
    made = scheduler(
        "UniPCMultistepScheduler", solver_order=order, lower_order_final=final, final_sigmas_type="sigma_min"
    )
    assert_unipc(made, "vp", order=order, lower_order_final=final, lower_order_long=final)


@pytest.mark.parametrize("order", [2, 3])
def test_unipc_bh1_agrees(order: int) -> None:
    made = scheduler("UniPCMultistepScheduler", solver_order=order, solver_type="bh1", final_sigmas_type="sigma_min")
    assert_unipc(made, "vp", order=order, kind="bh1")


def test_unipc_agrees_to_a_clean_end() -> None:
    assert_unipc(scheduler("UniPCMultistepScheduler"), "vp")


def test_unipc_agrees_on_a_flow() -> None:
    made = scheduler("UniPCMultistepScheduler", use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction")
    assert_unipc(made, "rf")


def assert_unipc(made: Any, gauge: str, **options: object) -> None:
    """Their states are the predicted ones; ours are the corrected ones, but for the first and the last."""
    levels, states = in_gauge(made, 14, gauge, plain)
    seen: list[Tensor] = []

    def watched(x: Tensor, at: Level) -> Tensor:
        seen.append(x)
        return denoise(x, at)

    steps = list(unipc(watched, states[0], levels, no_noise, **options))
    for ours, state in zip([*seen, steps[-1].x], states, strict=True):
        assert torch.isfinite(state).all()
        torch.testing.assert_close(ours, state.double(), rtol=0, atol=1e-5)


def test_dpmpp_2m_agrees_on_a_flow_from_pure_noise() -> None:
    made = scheduler(
        "DPMSolverMultistepScheduler", use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
    )
    levels, states = in_gauge(made, 14, "rf", plain)
    assert levels[0].alpha < 1e-3
    assert_same(dpmpp_2m, levels, states, no_noise)


def test_euler_agrees_with_flow_match_euler_from_pure_noise() -> None:
    levels, states = in_gauge(scheduler("FlowMatchEulerDiscreteScheduler", shift=3.0), 12, "rf", plain)
    assert levels[0].alpha == 0
    assert_same(euler, levels, states, no_noise)


def test_heun_agrees_with_flow_match_heun() -> None:
    made = scheduler("FlowMatchHeunDiscreteScheduler", shift=3.0)
    made.set_timesteps(12)
    x = torch.randn(SHAPE, dtype=torch.float64)
    levels, states = [], []
    for place, t in enumerate(made.timesteps):
        at = level("rf", float(made.sigmas[place]))
        if place == 0 or made.state_in_first_order:
            levels.append(at)
            states.append(x)
        x = made.step(flow(x, at), t, x).prev_sample
    assert levels[0].alpha == 0
    assert_same(heun, [*levels, Level(1.0, 0.0)], [*states, x], no_noise)
