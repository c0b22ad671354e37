"""The walk of a request: its noise, its levels, its sampler, and how strongly the prompt guides it."""

from typing import Annotated

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field

from scorefield.request.option import Option, short

SEEDS = 2**64


def _automatic(value: str | None) -> str | None:
    # "Automatic" names no schedule: the model keeps its own. What A1111 means by it: sample.registry.find_a1111.
    return None if value is not None and value.strip().lower() == "automatic" else value


def _random(value: object) -> object:
    return None if value in (-1, "-1") else value


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


Steps = Annotated[
    int | None,
    Field(
        ge=1,
        le=1000,
        description="Steps from noise to picture.",
        validation_alias=AliasChoices("steps", "num_inference_steps", "sample_steps"),
    ),
    Option(flags=("--steps",), expects="a whole number from 1 to 1000"),
]
CfgScale = Annotated[
    float | None,
    Field(
        ge=0,
        le=100,
        allow_inf_nan=False,
        description="Guidance scale: 1 follows the plain model, more follows the prompt harder.",
        validation_alias=AliasChoices("cfg_scale", "guidance", "guidance_scale", "cfg"),
    ),
    Option(flags=("--cfg-scale", "--guidance-scale", "--guidance"), expects="a number from 0 to 100"),
]
CfgRescale = Annotated[
    float,
    Field(ge=0, le=1, allow_inf_nan=False, description="Share of the guided picture's contrast to take back."),
    Option(flags=("--cfg-rescale",), expects="a number from 0 to 1", metavar="SHARE"),
]
CfgInterval = Annotated[
    tuple[float, float] | None,
    Field(description="Guide only where lam = log(alpha / sigma) lies between LO and HI."),
    BeforeValidator(_pair),
    AfterValidator(_rising),
    Option(flags=("--cfg-interval",), expects="two numbers LO,HI with LO below HI, such as -4,2", metavar="LO,HI"),
]
Sampler = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=100,
        description='How to step: euler, dpmpp_2m, "DPM++ 2M Karras", ...',
        validation_alias=AliasChoices("sampler", "sampler_name", "sampling_method"),
    ),
    Option(flags=("--sampler", "--sampling-method", "--sampler-name"), expects="a sampler's name"),
]
Schedule = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=100,
        description="Which noise levels to visit: karras, uniform, ...",
        validation_alias=AliasChoices("schedule", "scheduler"),
    ),
    AfterValidator(_automatic),
    Option(flags=("--schedule", "--scheduler"), expects="a schedule's name"),
]
Eta = Annotated[
    float | None,
    Field(ge=0, le=10, allow_inf_nan=False, description="Fresh noise in each step, for samplers that take it."),
    Option(flags=("--eta",), expects="a number from 0 to 10"),
]
Seed = Annotated[
    int | None,
    Field(ge=0, lt=SEEDS, description="Where the noise starts from; -1 draws one."),
    BeforeValidator(_random),
    Option(flags=("--seed",), expects="a whole number from 0 to 2^64 - 1, or -1 for a random one"),
]
Noise = Annotated[
    str,
    Field(min_length=1, max_length=100, description="Where the noise comes from: per_sample, batch or brownian."),
    Option(flags=("--noise",), expects="a noise policy's name", metavar="POLICY"),
]
