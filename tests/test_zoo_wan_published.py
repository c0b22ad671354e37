"""Wan's samplers and levels against those of its own code, as a request for a Wan plans them.

The figures are of wan/utils/fm_solvers.py and fm_solvers_unipc.py of Wan2.1 9737cba, with the dummy network
x t / (t + 1) and a ramp of 768 numbers to start from:
    m = FlowUniPCMultistepScheduler(1000, shift=1, use_dynamic_shifting=False)
    m.set_timesteps(steps, device="cpu", shift=shift)
or
    m = FlowDPMSolverMultistepScheduler(1000, shift=1, use_dynamic_shifting=False)
    retrieve_timesteps(m, device="cpu", sigmas=get_sampling_sigmas(steps, shift))
then, for each t of m.timesteps,
    x = m.step(x * (t / (t + 1)), t, x, return_dict=False)[0]
"""

import json
import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from tests.toy import model
from torch import Tensor, nn

from scorefield.core.cond import Cond
from scorefield.core.denoiser import Preconditioned, bind
from scorefield.core.level import Level
from scorefield.families.wan.specs import WAN_14B, Networks, spec_of
from scorefield.nets.video_dit import WAN_T2V_1_3B, WAN_T2V_14B
from scorefield.request import parse
from scorefield.stages.diffusion import DiffusionPlan

RAMP = (torch.arange(768) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)
FIGURES = json.loads(lzma.decompress((Path(__file__).parent / "data" / "wan_figures.json.xz").read_bytes()))
SAMPLERS = {"unipc": "unipc", "dpm++": "dpmpp_2m"}
DIFFUSERS = spec_of(Networks(transformer=replace(WAN_T2V_14B, like="diffusers")), "a model")


class Dummy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.times: list[float] = []

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        self.times.append(float(time[0]))
        return x * (time / (time + 1))[:, None, None, None]


def planned(spec: Any, **options: Any) -> DiffusionPlan:
    return replace(model().stages[0], spec=spec).plan(parse({"prompts": "a tree", "negative_prompt": "", **options}))


def no_noise(at: Level, to: Level) -> Tensor:
    raise AssertionError("an ODE sampler asked for noise")


def walked(spec: Any, plan: DiffusionPlan) -> tuple[Tensor, list[float]]:
    """The result, and the times that the network was given."""
    net = Dummy()
    denoise = bind(Preconditioned(net, spec.prediction, spec.clock), Cond())
    *_, last = plan.sampler(denoise, RAMP, plan.levels, no_noise)
    return last.x, net.times


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_of_the_original_are_met_in_few_steps_and_in_many(name: str) -> None:
    sampler, steps, shift = name.split(".")
    figures = FIGURES[name]
    plan = planned(WAN_14B, sampler=SAMPLERS[sampler], steps=int(steps), shift=float(shift.removeprefix("shift")))
    sigmas = torch.tensor([at.sigma for at in plan.levels])
    torch.testing.assert_close(sigmas, torch.tensor(figures["sigmas"]), rtol=0, atol=1e-7)
    x, times = walked(WAN_14B, plan)
    # Where 1000 sigma is a whole number, the original's DPM++ rounds it down by one or not, as its float64 falls.
    rounded = [abs(1000 * at.sigma - round(1000 * at.sigma)) < 1e-9 for at in plan.levels[:-1]]
    assert sampler == "dpm++" or not any(rounded)
    off = [ours - theirs for ours, theirs in zip(times, figures["timesteps"], strict=True)]
    assert all(one == 0 or (one == 1 and whole) for one, whole in zip(off, rounded, strict=True))
    bound = 1e-5 if any(off) else 1e-6
    assert float(x.double().abs().sum()) == pytest.approx(figures["sum"], rel=bound)
    torch.testing.assert_close(x.flatten()[-4:], torch.tensor(figures["last"]), rtol=bound, atol=0)


@pytest.mark.parametrize("shift", [3.0, 5.0, 8.0, 16.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8, 20, 50])
@pytest.mark.parametrize(
    ("sampler", "peer"), [("unipc", UniPCMultistepScheduler), ("dpmpp_2m", DPMSolverMultistepScheduler)]
)
def test_like_diffusers_the_levels_and_times_are_those_of_diffusers(
    sampler: str, peer: Any, steps: int, shift: float
) -> None:
    made = peer(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    made.set_timesteps(steps)
    plan = planned(DIFFUSERS, sampler=sampler, steps=steps, shift=shift)
    torch.testing.assert_close(torch.tensor([at.sigma for at in plan.levels]), made.sigmas, rtol=0, atol=1e-7)
    x, times = walked(DIFFUSERS, plan)
    assert times == made.timesteps.tolist()
    theirs = RAMP
    for t in made.timesteps:
        theirs = made.step(theirs * (t / (t + 1)), t, theirs).prev_sample
    torch.testing.assert_close(x, theirs, rtol=2e-5, atol=0)


def test_a_spec_has_the_settings_of_its_size_whatever_it_is_like() -> None:
    for size in (WAN_T2V_1_3B, WAN_T2V_14B):
        sizes = (Networks(transformer=replace(size, like=like)) for like in ("original", "diffusers"))
        one, two = (spec_of(each, "a model") for each in sizes)
        assert one.defaults.schedules != two.defaults.schedules
        assert replace(two, defaults=replace(two.defaults, schedules=one.defaults.schedules)) == one
