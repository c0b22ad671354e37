"""The names that users of other programs type."""

import pytest

from scorefield.core import grid
from scorefield.errors import RequestError
from scorefield.sample import samplers
from scorefield.sample.samplers import SAMPLERS, find

PUBLISHED = {
    "ddpm": ["ddpm", "DDPM", "DDPMScheduler"],
    "ddim": ["ddim", "DDIM", "DDIMScheduler"],
    "euler": [
        "Euler",
        "k_euler",
        "sample_euler",
        "EulerDiscreteScheduler",
        "EulerDiscrete",
        "FlowMatchEulerDiscreteScheduler",
    ],
    "euler_ancestral": ["Euler a", "k_euler_a", "sample_euler_ancestral", "euler_a", "EulerAncestralDiscreteScheduler"],
    "heun": ["Heun", "k_heun", "sample_heun", "HeunDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"],
    "dpm2": ["DPM2", "k_dpm_2", "sample_dpm_2", "dpm_2", "kdpm_2", "KDPM2DiscreteScheduler"],
    "lms": ["LMS", "k_lms", "sample_lms", "LMSDiscreteScheduler"],
    "dpmpp_2m": ["DPM++ 2M", "k_dpmpp_2m", "sample_dpmpp_2m", "DPMSolverMultistepScheduler", "dpm++2m"],
    "dpmpp_2m_sde": ["DPM++ 2M SDE", "sample_dpmpp_2m_sde", "dpmpp_2m_sde_gpu"],
    "dpmpp_2m_sde_heun": ["DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun", "k_dpmpp_2m_sde_heun"],
    "dpmpp_sde": ["DPM++ SDE", "sample_dpmpp_sde", "dpmpp_sde_gpu", "DPMSolverSDEScheduler"],
    "dpmpp_3m_sde": ["DPM++ 3M SDE", "sample_dpmpp_3m_sde", "dpmpp_3m_sde_gpu"],
    "unipc": ["UniPC", "uni_pc", "uni_pc_bh2", "UniPCMultistepScheduler"],
    "optimise": ["optimise", "optimize"],
}


@pytest.mark.parametrize(("name", "typed"), [(name, typed) for name, many in PUBLISHED.items() for typed in many])
def test_a_published_name_is_found_in_any_case(name: str, typed: str) -> None:
    for spelling in (typed, typed.lower(), typed.upper(), f" {typed} "):
        record, schedule = find(spelling)
        assert record.name == name
        assert schedule is None


@pytest.mark.parametrize(
    ("typed", "name", "schedule"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("dpm++ 2m sde exponential", "dpmpp_2m_sde", "exponential"),
        ("DPM++ 2M SDE Heun Karras", "dpmpp_2m_sde_heun", "karras"),
        ("DPM++ 3M SDE Exponential", "dpmpp_3m_sde", "exponential"),
        ("k_dpmpp_2m_ka", "dpmpp_2m", "karras"),
        ("k_dpmpp_2m_sde_exp", "dpmpp_2m_sde", "exponential"),
        ("k_dpm_2_ka", "dpm2", "karras"),
        ("LMS Karras", "lms", "karras"),
        ("dpmpp_2m_k", "dpmpp_2m", "karras"),
        ("kdpm_2_k", "dpm2", "karras"),
        ("euler_k", "euler", "karras"),
        ("Euler a SGM Uniform", "euler_ancestral", "sgm_uniform"),
        ("DPM++ SDE SGMUniform", "dpmpp_sde", "sgm_uniform"),
        ("euler simple", "euler", "simple"),
        ("unipc beta", "unipc", "beta"),
        ("DPM++ 2M polyexponential", "dpmpp_2m", "polyexponential"),
        ("Euler Automatic", "euler", None),
        ("DPM++ 2M Automatic", "dpmpp_2m", None),
    ],
)
def test_a_name_may_end_in_a_schedule(typed: str, name: str, schedule: str | None) -> None:
    record, found = find(typed)
    assert (record.name, found) == (name, schedule)


@pytest.mark.parametrize("typed", ["eulr", "dpmpp_2n", "DPM2 a", "dpm_adaptive", "DPM++ 2S a Karras"])
def test_an_unknown_name_is_an_error_of_one_line_with_the_nearest(typed: str) -> None:
    with pytest.raises(RequestError) as error:
        find(typed)
    words = str(error.value)
    assert words.startswith(f"unknown sampler {typed!r}; nearest: ")
    assert "\n" not in words
    offered = words.split("nearest: ")[1].split(", ")
    assert 1 <= len(offered) <= 3
    assert all(find(name)[0].name == name for name in offered)


def test_the_nearest_name_is_first() -> None:
    with pytest.raises(RequestError, match="nearest: euler"):
        find("eulr")
    with pytest.raises(RequestError, match="nearest: dpmpp_2m"):
        find("dpmpp_2n")


@pytest.mark.parametrize("typed", ["", "  ", "++", "zzzzzz", "k", "karras"])
def test_a_name_that_is_near_nothing_lists_them_all(typed: str) -> None:
    with pytest.raises(ValueError, match="known: ddpm, ddim, euler"):
        find(typed)


def test_no_name_means_two_samplers() -> None:
    owners: dict[str, str] = {}
    for record in SAMPLERS:
        for alias in (record.name, *record.aliases):
            key = samplers._key(samplers._words(alias))
            assert owners.setdefault(key, record.name) == record.name
    assert len({record.name for record in SAMPLERS}) == len(SAMPLERS)


def test_every_schedule_that_a_name_can_mean_is_a_grid() -> None:
    meant = {record.a1111_schedule for record in SAMPLERS} | set(samplers.SCHEDULE_ENDINGS.values())
    assert meant <= set(grid.SCHEDULES)


@pytest.mark.parametrize(
    ("name", "schedule", "expected"),
    [
        ("DPM++ 2M", "Automatic", ("dpmpp_2m", "karras")),
        ("DPM++ 2M", None, ("dpmpp_2m", "karras")),
        ("DPM++ 2M", "Uniform", ("dpmpp_2m", "normal")),
        ("DPM++ 2M SDE Exponential", "automatic", ("dpmpp_2m_sde", "exponential")),
        ("DPM++ SDE", None, ("dpmpp_sde", "karras")),
        ("DPM++ 3M SDE", "AUTOMATIC", ("dpmpp_3m_sde", "exponential")),
        ("DPM2", "Automatic", ("dpm2", "karras")),
        ("Euler a", "Automatic", ("euler_ancestral", "normal")),
        ("LMS Karras", None, ("lms", "karras")),
        ("UniPC", "Automatic", ("unipc", "ddim_uniform")),
        ("Euler", "SGM Uniform", ("euler", "sgm_uniform")),
    ],
)
def test_a1111s_automatic_is_that_programs_default(name: str, schedule: str | None, expected: tuple[str, str]) -> None:
    record, found = samplers.find_a1111(name, schedule)
    assert (record.name, found) == expected


def test_an_unknown_schedule_of_a1111_is_an_error() -> None:
    with pytest.raises(RequestError, match="unknown schedule 'karas'; nearest: karras"):
        samplers.find_a1111("Euler", "karas")
