"""How to walk from noise to the picture: steps, sampler, schedule, noise, and how strongly the prompt guides."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, model_validator

from scorefield.request.option import Group, Name, Option, option, short


def _automatic(value: object) -> object:
    # A1111's "Automatic": the sampler's own schedule, or else the model's.
    return None if isinstance(value, str) and value.strip().lower() == "automatic" else value


def _pair(value: object) -> object:
    if not isinstance(value, str):
        return value
    low, _, high = value.partition(",")
    try:
        return float(low), float(high)
    except ValueError:
        raise ValueError(f"cfg_interval must be two numbers LO,HI such as -4,2, not {short(value)}") from None


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not -1e6 < value[0] < value[1] < 1e6:
        raise ValueError(f"cfg_interval must be two numbers LO,HI with LO below HI, not {value[0]},{value[1]}")
    return value


_Interval = Annotated[tuple[float, float], BeforeValidator(_pair), AfterValidator(_rising)]


class Sampling(Group):
    """The walk of a diffusion model."""

    title: ClassVar[str] = "Walk"
    written_otherwise: ClassVar[dict[str, tuple[Option, str]]] = {
        "guidance_scale": (
            Option(flags=("--guidance-scale",), expects="a number from 0 to 100"),
            "Guidance scale as in diffusers: up to 1 is off.",
        )
    }

    steps: int | None = option(
        None,
        "Steps from noise to picture; the schedule ddim_uniform has at most 999.",
        names=("num_inference_steps", "sample_steps"),
        ge=1,
        le=1000,
    )
    cfg_scale: float | None = option(
        None,
        "Guidance scale: 0 draws the negative prompt, 1 is off, more follows the prompt harder.",
        names=("guidance", "cfg"),
        ge=0,
        le=100,
    )
    cfg_rescale: float = option(
        0.0, "How much of the contrast that guidance adds to remove: 0 none, 1 all.", ge=0, le=1, metavar="SHARE"
    )
    cfg_interval: _Interval | None = option(
        None,
        "Guide only where lam = log(alpha / sigma) lies between LO and HI.",
        expects="two numbers LO,HI with LO below HI, such as -4,2",
        metavar="LO,HI",
    )
    sampler: Name | None = option(
        None,
        'How to step: euler, dpmpp_2m, "DPM++ 2M Karras", ...',
        names=("sampler_name", "sampling_method"),
        expects="a sampler's name",
    )
    schedule: Annotated[Name | None, BeforeValidator(_automatic)] = option(
        None, "Which noise levels to visit: karras, uniform, ...", names=("scheduler",), expects="a schedule's name"
    )
    eta: float | None = option(None, "How much fresh noise each step adds, for samplers that take it.", ge=0, le=10)
    noise: Name = option(
        "per_sample",
        "Where the noise comes from: per_sample, batch or brownian.",
        expects="a noise policy's name",
        metavar="POLICY",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_as_diffusers(cls, values: object) -> object:
        """Read `guidance_scale` as diffusers does, where up to 1 is off; SD-Turbo's page says to pass 0."""
        if not isinstance(values, Mapping) or values.get("guidance_scale") is None:
            return values
        others = {name: value for name, value in values.items() if name != "guidance_scale"}
        if name := next((name for name in ("cfg_scale", "guidance", "cfg") if others.get(name) is not None), None):
            raise ValueError(f"guidance_scale is another name of {name}; give one of the two")
        scale = values["guidance_scale"]
        try:
            return others | {"cfg_scale": max(1.0, number) if 0 <= (number := float(scale)) <= 100 else scale}
        except (TypeError, ValueError):
            return others | {"cfg_scale": scale}


class SecondGuidance(Group):
    """The guidance of the second of two experts."""

    title: ClassVar[str] = "Walk"
    instead: ClassVar[str] = "it is for models of two experts, such as Wan 2.2's A14B; others have --cfg-scale"

    cfg_scale_2: float | None = option(
        None,
        "Guidance scale of the low-noise expert, for models of two; without it --cfg-scale serves both.",
        names=("guidance_scale_2",),
        ge=0,
        le=100,
    )


class FlowShift(Group):
    """The shift of a rectified flow's schedule."""

    title: ClassVar[str] = "Walk"
    instead: ClassVar[str] = "it is for rectified flows, such as Wan"

    shift: float | None = option(
        None,
        "Shift the schedule towards noise: the larger, the more steps go into the film's layout.",
        names=("flow_shift",),
        gt=0,
        le=100,
    )
