"""What a caller may ask for: one validated, frozen list of options that every face derives its own from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Literal, TypedDict, TypeVar, cast

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

MOST_PROMPTS = 256
MOST_PICTURES = 1024
LONGEST_PROMPT = 10_000  # characters
SEEDS = 2**64

Texts = TypeVar("Texts", str, tuple[str, ...])

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SIZE = re.compile(r"\s*(\d{1,9})\s*(?:[xX*\xd7]\s*(\d{1,9})\s*)?")


class RequestError(ValueError):
    """A request that cannot be met as it is asked: one line that says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How a face shows a field: its flags on the command line, and its values in words."""

    flags: tuple[str, ...]
    expects: str


class Request(BaseModel):
    """One or more pictures to draw. None means what the model's own settings say.

    Picture k of the whole request (`count` of the first prompt, then of the second, ...) is drawn from seed + k.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    prompts: Annotated[
        tuple[str, ...],
        Field(min_length=1, max_length=MOST_PROMPTS, validation_alias=AliasChoices("prompts", "prompt")),
        Option(flags=(), expects=f"a text, or 1 to {MOST_PROMPTS} texts"),
    ]
    negative_prompt: Annotated[
        str,
        Field(description="What the picture should not show."),
        Option(flags=("-n", "--negative-prompt"), expects=f"a text of at most {LONGEST_PROMPT} characters"),
    ] = ""
    model: Annotated[
        str,
        Field(min_length=1, max_length=4096, description="A model's name: see `scorefield models`; or a path to one."),
        Option(flags=("-m", "--model"), expects="a model's name, or a path"),
    ] = "scenes"
    prediction: Annotated[
        Literal["eps", "v"] | None,
        Field(description="What a file's network predicts, eps or v, where the file does not tell it."),
        Option(flags=("--prediction",), expects="eps or v"),
    ] = None
    steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=1000,
            description="Steps from noise to picture.",
            validation_alias=AliasChoices("steps", "num_inference_steps", "sample_steps"),
        ),
        Option(flags=("--steps",), expects="a whole number from 1 to 1000"),
    ] = None
    cfg_scale: Annotated[
        float | None,
        Field(
            ge=0,
            le=100,
            allow_inf_nan=False,
            description="Guidance scale: 1 follows the plain model, more follows the prompt harder.",
            validation_alias=AliasChoices("cfg_scale", "guidance", "guidance_scale", "cfg"),
        ),
        Option(flags=("--cfg-scale", "--guidance-scale", "--guidance"), expects="a number from 0 to 100"),
    ] = None
    cfg_rescale: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False, description="Share of the guided picture's contrast to take back."),
        Option(flags=("--cfg-rescale",), expects="a number from 0 to 1"),
    ] = 0.0
    cfg_interval: Annotated[
        tuple[float, float] | None,
        Field(description="LO,HI: guide only where lam = log(alpha / sigma) lies between."),
        Option(flags=("--cfg-interval",), expects="two numbers LO,HI with LO below HI, such as -4,2"),
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
        Option(flags=("--schedule", "--scheduler"), expects="a schedule's name"),
    ] = None
    eta: Annotated[
        float | None,
        Field(ge=0, le=10, allow_inf_nan=False, description="Fresh noise in each step, for samplers that take it."),
        Option(flags=("--eta",), expects="a number from 0 to 10"),
    ] = None
    seed: Annotated[
        int | None,
        Field(ge=0, lt=SEEDS, description="Where the noise starts from; -1 draws one."),
        Option(flags=("--seed",), expects="a whole number from 0 to 2^64 - 1, or -1 for a random one"),
    ] = None
    count: Annotated[
        int,
        Field(
            ge=1,
            le=MOST_PICTURES,
            description="Pictures of each prompt.",
            validation_alias=AliasChoices("count", "num_images_per_prompt"),
        ),
        Option(flags=("-b", "--count"), expects=f"a whole number from 1 to {MOST_PICTURES}"),
    ] = 1
    batch_size: Annotated[
        int,
        Field(ge=1, le=MOST_PICTURES, description="Pictures drawn at once."),
        Option(flags=("--batch-size",), expects=f"a whole number from 1 to {MOST_PICTURES}"),
    ] = 16
    width: Annotated[
        int | None,
        Field(ge=8, le=4096, description="Width in pixels."),
        Option(flags=("-W", "--width"), expects="a whole number from 8 to 4096"),
    ] = None
    height: Annotated[
        int | None,
        Field(ge=8, le=4096, description="Height in pixels."),
        Option(flags=("-H", "--height"), expects="a whole number from 8 to 4096"),
    ] = None
    noise: Annotated[
        str,
        Field(min_length=1, max_length=100, description="Where the noise comes from: per_sample, batch or brownian."),
        Option(flags=("--noise",), expects="a noise policy's name"),
    ] = "per_sample"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Field(description="Number format of the network: auto, float32, bfloat16 or float16."),
        Option(flags=("--dtype",), expects="auto, float32, bfloat16 or float16"),
    ] = "auto"
    device: Annotated[
        str,
        Field(
            pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
            description="Where the network runs: auto, cpu, cuda, cuda:N or mps.",
        ),
        Option(flags=("--device",), expects="auto, cpu, cuda, cuda:N or mps"),
    ] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _size(cls, values: object) -> object:
        if not isinstance(values, Mapping) or values.get("size") is None:
            return values
        width, height = sides(values["size"])
        return {"width": width, "height": height} | {key: value for key, value in values.items() if key != "size"}

    @field_validator("prompts", mode="before")
    @classmethod
    def _prompts(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("prompts", "negative_prompt")
    @classmethod
    def _readable(cls, value: Texts) -> Texts:
        for text in (value,) if isinstance(value, str) else value:
            if len(text) > LONGEST_PROMPT:
                raise ValueError(f"a prompt of {len(text)} characters is too long; {LONGEST_PROMPT} are the most")
            if _CONTROL.search(text):
                raise ValueError(f"the prompt {text[:40]!r} holds a control character; remove it")
            if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError(f"the prompt {text[:40]!r} is not valid text; give it in UTF-8")
        return value

    @field_validator("seed", mode="before")
    @classmethod
    def _drawn(cls, value: object) -> object:
        return None if value in (-1, "-1") else value

    @field_validator("schedule")
    @classmethod
    def _automatic(cls, value: str | None) -> str | None:
        # A1111's "Automatic": the sampler's own schedule, or else the model's.
        return None if value is not None and value.strip().lower() == "automatic" else value

    @field_validator("cfg_interval", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        low, _, high = value.partition(",")
        try:
            return float(low), float(high)
        except ValueError:
            raise ValueError(f"cfg_interval must be two numbers LO,HI such as -4,2, not {_short(value)}") from None

    @field_validator("cfg_interval")
    @classmethod
    def _rising(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not -1e6 < value[0] < value[1] < 1e6:
            raise ValueError(f"cfg_interval must be two numbers LO,HI with LO below HI, not {value[0]},{value[1]}")
        return value

    @model_validator(mode="after")
    def _few_enough(self) -> "Request":
        if (pictures := len(self.prompts) * self.count) > MOST_PICTURES:
            raise ValueError(f"{pictures} pictures are too many for one request; ask for at most {MOST_PICTURES}")
        return self


class Settled(Request):
    """A request in which the model's settings and a seed have been filled in: what is drawn and what is recorded."""

    steps: int
    cfg_scale: float
    sampler: str
    schedule: str
    seed: int
    width: int
    height: int


class Options(TypedDict, total=False):
    """The keyword arguments of `Pipeline.__call__` and `Pipeline.stream`, with the names that others use."""

    negative_prompt: str
    steps: int | None
    num_inference_steps: int | None
    guidance: float | None
    guidance_scale: float | None
    cfg_scale: float | None
    cfg_rescale: float
    cfg_interval: tuple[float, float] | None
    sampler: str | None
    schedule: str | None
    scheduler: str | None
    eta: float | None
    seed: int | None
    count: int
    num_images_per_prompt: int
    batch_size: int
    size: int | str | tuple[int, int] | None
    width: int | None
    height: int | None
    noise: str


def options() -> dict[str, tuple[Option, str]]:
    """Every field that a face shows, by name: its Option and its description."""
    shown: dict[str, tuple[Option, str]] = {}
    for name, field in Request.model_fields.items():
        option = next(item for item in field.metadata if isinstance(item, Option))
        if option.flags:
            shown[name] = (option, field.description or "")
    return shown


def parse(values: Mapping[str, object]) -> Request:
    """The request that `values` describe, by name or alias; RequestError names the first value that is wrong."""
    try:
        return Request.model_validate(dict(values))
    except ValidationError as error:
        raise RequestError(_line(error)) from None


def sides(size: object) -> tuple[int, int]:
    """(width, height) of a size: N, "N", "WxH", "W*H" or a pair; RequestError for anything else."""
    if isinstance(size, int) and not isinstance(size, bool):
        return size, size
    if isinstance(size, str) and (match := _SIZE.fullmatch(size)):
        return int(match[1]), int(match[2] or match[1])
    if isinstance(size, Sequence) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return cast(tuple[int, int], tuple(size))
    raise RequestError(f"size must be WIDTHxHEIGHT such as 128x128, or one number for a square, not {size!r}")


def _line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name = str(first["loc"][0]) if first["loc"] else "request"
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return "there is no prompt; say what to draw"
    field = next((field for field in Request.model_fields if name in _names(field)), None)
    if field is None:
        near = get_close_matches(name, {"size", *(str(one) for field in Request.model_fields for one in _names(field))})
        told = f"nearest: {', '.join(near)}" if near else f"the options are {', '.join(Request.model_fields)}, size"
        return f"there is no option {name!r}; {told}"
    if first["type"] == "extra_forbidden":
        return f"{name} is another name of {field}; give one of the two"
    option = next(item for item in Request.model_fields[field].metadata if isinstance(item, Option))
    return f"{name} must be {option.expects}, not {_short(first['input'])}"


def _names(field: str) -> tuple[object, ...]:
    alias = Request.model_fields[field].validation_alias
    return (field, *(alias.choices if isinstance(alias, AliasChoices) else ()))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
