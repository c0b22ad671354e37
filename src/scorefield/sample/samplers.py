"""The samplers by name: one record each, and the names that users of other programs type."""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from scorefield.core import grid
from scorefield.core.name_lookup import canonical, normal_form
from scorefield.errors import RequestError
from scorefield.sample.ancestral import ddim, ddpm, euler_ancestral
from scorefield.sample.dpmpp import dpmpp_2m, dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde
from scorefield.sample.lms import lms
from scorefield.sample.one_step import dpm2, euler, heun
from scorefield.sample.optimise import optimise
from scorefield.sample.unipc import unipc
from scorefield.sample.walk import Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerRecord:
    """A sampler and its properties."""

    name: str  # as we print it
    sampler: Sampler
    evaluations: int  # of the network in each step
    order: int  # of its ODE (eta = 0), measured from a cold start; for DDPM, which has no ODE, that of DDIM
    stochastic: bool  # whether it draws fresh noise in its steps, with its defaults
    a1111_schedule: str  # A1111's "Automatic" for it; everywhere else a bare name keeps the model's schedule
    aliases: tuple[str, ...]  # as written in A1111, ComfyUI, diffusers, k-diffusion or InvokeAI


SAMPLERS: tuple[SamplerRecord, ...] = (
    SamplerRecord(
        name="ddpm",
        sampler=ddpm,
        evaluations=1,
        order=1,
        stochastic=True,
        a1111_schedule="normal",
        aliases=("DDPM", "DDPMScheduler", "DDPMParallelScheduler"),
    ),
    SamplerRecord(
        name="ddim",
        sampler=ddim,
        evaluations=1,
        order=1,
        stochastic=False,
        a1111_schedule="ddim_uniform",
        aliases=("DDIM", "DDIMScheduler", "DDIMParallelScheduler"),
    ),
    SamplerRecord(
        name="euler",
        sampler=euler,
        evaluations=1,
        order=1,
        stochastic=False,
        a1111_schedule="normal",
        aliases=("Euler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler"),
    ),
    SamplerRecord(
        name="euler_ancestral",
        sampler=euler_ancestral,
        evaluations=1,
        order=1,
        stochastic=True,
        a1111_schedule="normal",
        aliases=("Euler a", "EulerAncestralDiscreteScheduler"),
    ),
    SamplerRecord(
        name="heun",
        sampler=heun,
        evaluations=2,
        order=2,
        stochastic=False,
        a1111_schedule="normal",
        aliases=("Heun", "HeunDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"),
    ),
    SamplerRecord(
        name="dpm2",
        sampler=dpm2,
        evaluations=2,
        order=2,
        stochastic=False,
        a1111_schedule="karras",
        aliases=("DPM2", "dpm_2", "kdpm_2", "KDPM2DiscreteScheduler"),
    ),
    SamplerRecord(
        name="lms",
        sampler=lms,
        evaluations=1,
        order=2,
        stochastic=False,
        a1111_schedule="normal",
        aliases=("LMS", "LMSDiscreteScheduler"),
    ),
    SamplerRecord(
        name="dpmpp_2m",
        sampler=dpmpp_2m,
        evaluations=1,
        order=2,
        stochastic=False,
        a1111_schedule="karras",
        aliases=("DPM++ 2M", "DPMSolverMultistepScheduler", "DPM-Solver++(2M)"),
    ),
    SamplerRecord(
        name="dpmpp_2m_sde",
        sampler=dpmpp_2m_sde,
        evaluations=1,
        order=2,
        stochastic=True,
        a1111_schedule="exponential",
        aliases=("DPM++ 2M SDE", "DPM-Solver++(2M) SDE"),
    ),
    SamplerRecord(
        name="dpmpp_2m_sde_heun",
        sampler=functools.partial(dpmpp_2m_sde, kind="heun"),
        evaluations=1,
        order=2,
        stochastic=True,
        a1111_schedule="exponential",
        aliases=("DPM++ 2M SDE Heun",),
    ),
    SamplerRecord(
        name="dpmpp_sde",
        sampler=dpmpp_sde,
        evaluations=2,
        order=2,
        stochastic=True,
        a1111_schedule="karras",
        aliases=("DPM++ SDE", "DPMSolverSDEScheduler", "DPM-Solver++ SDE"),
    ),
    SamplerRecord(
        name="dpmpp_3m_sde",
        sampler=dpmpp_3m_sde,
        evaluations=1,
        order=2,
        stochastic=True,
        a1111_schedule="exponential",
        aliases=("DPM++ 3M SDE", "DPM-Solver++(3M) SDE"),
    ),
    SamplerRecord(
        name="unipc",
        sampler=unipc,
        evaluations=1,
        order=2,
        stochastic=False,
        a1111_schedule="ddim_uniform",
        aliases=("UniPC", "uni_pc", "uni_pc_bh2", "UniPCMultistepScheduler"),
    ),
    SamplerRecord(
        name="optimise",
        sampler=optimise,
        evaluations=1,
        order=1,
        stochastic=False,
        a1111_schedule="normal",
        aliases=("optimize", "optimiser", "optimizer"),
    ),
)

SCHEDULE_ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        **{name: name for name in grid.SCHEDULES},
        "sgmuniform": "sgm_uniform",
        "uniform": "normal",
        "ka": "karras",  # A1111's old aliases, k_dpmpp_2m_ka and k_dpmpp_2m_sde_exp
        "exp": "exponential",
        "k": "karras",  # InvokeAI
    }
)


def find(name: str) -> tuple[SamplerRecord, str | None]:
    """The sampler of that name, and the schedule if the name ends in one: "DPM++ 2M Karras" does.

    Case, spaces, hyphens and underscores do not matter. An "Automatic" at the end names no schedule. RequestError with
    the nearest names for an unknown one.
    """
    words = _words(name)
    if words[-1:] == ["automatic"]:
        words = words[:-1]
    for head, schedule in ((words, None), *_endings(words)):
        if _key(head) in _BY_KEY:
            return _BY_KEY[_key(head)], schedule
    near = dict.fromkeys(_BY_KEY[close].name for close in get_close_matches(_key(words), _BY_KEY, n=6, cutoff=0.5))
    known = list(near)[:3] or [record.name for record in SAMPLERS]
    raise RequestError(
        f"unknown sampler {name!r}; {'nearest' if near else 'known'}: {', '.join(known)}", option="sampler"
    )


def find_a1111(name: str, schedule: str | None) -> tuple[SamplerRecord, str]:
    """The sampler and the schedule that A1111 means by these two names.

    There, "Automatic" or no schedule, and a sampler's name that ends in none, mean the sampler's default. RequestError
    for an unknown name.
    """
    record, named = find(name)
    if schedule is None or normal_form(schedule) == "automatic":
        return record, named or record.a1111_schedule
    return record, canonical("schedule", schedule, grid.SCHEDULES, grid.ALIASES)


def _words(name: str) -> list[str]:
    words = re.findall(r"[a-z0-9]+", name.lower().replace("++", "pp"))
    if len(words) > 1 and words[0] in ("k", "sample"):  # k_euler, sample_euler
        del words[0]
    if len(words) > 1 and words[-1] == "gpu":  # ComfyUI: where the noise is drawn
        del words[-1]
    return words


def _key(words: list[str]) -> str:
    return "".join(words).removesuffix("scheduler")


def _endings(words: list[str]) -> Iterator[tuple[list[str], str]]:
    for ending, schedule in SCHEDULE_ENDINGS.items():
        length = ending.count("_") + 1
        if "_".join(words[-length:]) == ending:
            yield words[:-length], schedule


_BY_KEY: Mapping[str, SamplerRecord] = MappingProxyType(
    {_key(_words(alias)): record for record in SAMPLERS for alias in (record.name, *record.aliases)}
)
