"""How to walk from noise to the picture: steps, sampler, schedule, noise, and how strongly the prompt guides."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator

from scorefield.request.option import Group, Option, short


def _automatic(value: str | None) -> str | None:
    # A1111's "Automatic": the sampler's own schedule, or else the model's.
    return None if value is not None and value.strip().lower() == "automatic" else value


def _pair(value: object) -> object:
    if not isinstance(value, str):
        return value
    low, _, high = value.partition(",")
    try:
        return float(low), float(high)
    except ValueError:
        raise ValueError(f"cfg_interval must be two numbers LO,HI such as -4,2, not {short(value)}") from None


def _rising(value: tuple[float, float] | None) -> tuple[float, float] | None:
    if value is not None and not -1e6 < value[0] < value[1] < 1e6:
        raise ValueError(f"cfg_interval must be two numbers LO,HI with LO below HI, not {value[0]},{value[1]}")
    return value


class Sampling(Group):
    """The walk of a diffusion model."""

    title: ClassVar[str] = "Walk"
    written_otherwise: ClassVar[dict[str, tuple[Option, str]]] = {
        "guidance_scale": (
            Option(flags=("--guidance-scale",), expects="a number from 0 to 100"),
            "The same as diffusers reads it: up to 1 it draws the prompt alone.",
        )
    }

    steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=1000,
            description="Steps from noise to picture; the schedule ddim_uniform has at most 999.",
            validation_alias=AliasChoices("steps", "num_inference_steps", "sample_steps"),
        ),
        Option(flags=("--steps", "--num-inference-steps"), expects="a whole number from 1 to 1000"),
    ] = None
    cfg_scale: Annotated[
        float | None,
        Field(
            ge=0,
            le=100,
            allow_inf_nan=False,
            description="Guidance scale: 0 draws the negative prompt, 1 is off, more follows the prompt harder.",
            validation_alias=AliasChoices("cfg_scale", "guidance", "cfg"),
        ),
        Option(flags=("--cfg-scale", "--guidance"), expects="a number from 0 to 100"),
    ] = None
    cfg_rescale: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False, description="Share of the guided picture's contrast to take back."),
        Option(flags=("--cfg-rescale",), expects="a number from 0 to 1", metavar="SHARE"),
    ] = 0.0
    cfg_interval: Annotated[
        tuple[float, float] | None,
        Field(description="Guide only where lam = log(alpha / sigma) lies between LO and HI."),
        BeforeValidator(_pair),
        AfterValidator(_rising),
        Option(flags=("--cfg-interval",), expects="two numbers LO,HI with LO below HI, such as -4,2", metavar="LO,HI"),
    ] = None
    sampler: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=100,
            description='How to step: euler, dpmpp_2m, "DPM++ 2M Karras", ...',
            validation_alias=AliasChoices("sampler", "sampler_name", "sampling_method"),
        ),
        Option(flags=("--sampler", "--sampling-method", "--sampler-name"), expects="a sampler's name"),
    ] = None
    schedule: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=100,
            description="Which noise levels to visit: karras, uniform, ...",
            validation_alias=AliasChoices("schedule", "scheduler"),
        ),
        AfterValidator(_automatic),
        Option(flags=("--schedule", "--scheduler"), expects="a schedule's name"),
    ] = None
    eta: Annotated[
        float | None,
        Field(ge=0, le=10, allow_inf_nan=False, description="Fresh noise in each step, for samplers that take it."),
        Option(flags=("--eta",), expects="a number from 0 to 10"),
    ] = None
    noise: Annotated[
        str,
        Field(min_length=1, max_length=100, description="Where the noise comes from: per_sample, batch or brownian."),
        Option(flags=("--noise",), expects="a noise policy's name", metavar="POLICY"),
    ] = "per_sample"

    @model_validator(mode="before")
    @classmethod
    def _read_as_diffusers(cls, values: object) -> object:
        """In diffusers, whose name `guidance_scale` is, anything up to 1 is off; SD-Turbo's page says to write 0."""
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
