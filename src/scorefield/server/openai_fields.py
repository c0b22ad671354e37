"""The fields of OpenAI's requests, and the options of a drawing that they stand for."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from scorefield.request import Drawing, ModelChoice, sides
from scorefield.server.openai_body import Refused, option_names
from scorefield.server.openai_shapes import Quality

FORMATS: Mapping[str, Literal["JPEG", "WEBP"]] = {"jpeg": "JPEG", "webp": "WEBP"}  # besides png and gif
DEFAULT_MODEL: str = ModelChoice.model_fields["model"].default
_MOST_FRAME_MS = 655_350
_SHARES = {"low": 0.5, "high": 1.5, "hd": 1.5, "xhigh": 2.0, "max": 3.0}  # of a model's own number of steps
_STEPS = frozenset({"steps", "num_inference_steps", "sample_steps"})
_CALLED: Mapping[str, Quality] = {
    "auto": "medium", "standard": "medium", "hd": "high", "low": "low", "medium": "medium", "high": "high",
    "xhigh": "xhigh", "max": "max",
}  # fmt: skip
_FIDELITY = {"high": 0.5}  # the strength; low is the model's own
_OF_A_START: tuple[str, ...] = ("strength", "exact_steps", "paste", "fit")  # options about a start picture

_ELSEWHERE = ("image", "mask", "last_image", "image_prompt", "prompts", "count")  # options that have their own fields
OURS_OF_PICTURES = option_names(*_ELSEWHERE, *_OF_A_START, "frames", "fps")
OURS_OF_EDITS = option_names(*_ELSEWHERE, "frames", "fps")
OURS_OF_VIDEOS = option_names(*_ELSEWHERE)

Size = Annotated[str, Field(description="WIDTHxHEIGHT, or auto: the model's own.", examples=["128x128"])]


class _Fields(BaseModel):
    """What all requests have."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    model: Annotated[str, Field(min_length=1, description="A name from GET /v1/models [scenes].")] | None = None
    size: Size | None = None
    user: Annotated[str, Field(max_length=512, description="Whose turn it is, in the queue.")] | None = None
    safety_identifier: Annotated[str, Field(max_length=512, description="As user, which it replaces.")] | None = None

    @field_validator("size")
    @classmethod
    def _is_a_size(cls, size: str | None) -> str | None:
        if size not in (None, "auto"):
            try:
                sides(size)
            except ValueError as error:
                raise ValueError(f"{error}, or auto") from None
        return size

    @property
    def who(self) -> str:
        """The client's name for its user."""
        return self.safety_identifier or self.user or ""

    def options(self) -> dict[str, object]:
        """The model and the size as options of a drawing."""
        given: dict[str, object] = {} if self.model is None else {"model": self.model}
        if self.size not in (None, "auto"):
            given["width"], given["height"] = sides(self.size)
        return given


class VariationFields(_Fields):
    """What every request for pictures has."""

    n: Annotated[int, Field(ge=1, le=10, description="How many pictures.")] = 1
    response_format: Literal["b64_json", "url"] = "b64_json"


class GenerationFields(VariationFields):
    """The fields of a request for pictures from words."""

    prompt: str
    quality: Literal["auto", "low", "medium", "high", "standard", "hd", "xhigh", "max"] = Field(
        "auto",
        description="Steps: the model's own number for auto, medium, standard; its half for low; 1.5, 2 and 3 times as "
        "many for high (hd), xhigh and max. An explicit `steps` counts instead.",
    )
    complexity: Literal["low", "medium", "high"] = Field("medium", description="No effect: nothing is planned.")
    output_format: Literal["png", "jpeg", "webp", "gif", "svg"] = Field(
        "png", description="gif needs a model that draws films; svg is refused."
    )
    output_compression: Annotated[int, Field(ge=0, le=100, description="The quality of jpeg and webp.")] | None = None
    background: Literal["auto", "opaque", "transparent"] = Field("auto", description="transparent is refused.")
    moderation: Literal["low", "auto"] = Field("auto", description="No effect: nothing is moderated.")
    style: Literal["vivid", "natural"] | None = Field(None, description="No effect: say it in the prompt.")
    svg: Any = Field(None, description="For svg, which is refused.")
    stream: bool = Field(False, description="Answer by server-sent events.")
    partial_images: int = Field(0, ge=0, le=3, description="How many pictures of the way to send in a stream.")
    frame_count: Annotated[int, Field(ge=2, le=16, description="Of a gif [9].")] | None = None
    frame_duration_ms: Annotated[int, Field(ge=10, le=_MOST_FRAME_MS, description="Of a gif [200].")] | None = None

    @property
    def called(self) -> Quality:
        """The quality as answers name it."""
        return _CALLED[self.quality]

    @property
    def is_gif(self) -> bool:
        return self.output_format == "gif"

    @property
    def frames(self) -> int:
        """Frames of the gif."""
        return self.frame_count or 9

    @property
    def frames_drawn(self) -> int:
        """Frames to draw for the gif: the next 4k + 1."""
        return 4 * math.ceil((self.frames - 1) / 4) + 1

    @property
    def frame_seconds(self) -> float:
        """For which a frame of the gif is shown: GIF counts hundredths."""
        return max(2, round((self.frame_duration_ms or 200) / 10)) / 100

    def check(self) -> None:
        """Refused for what no model here can do, and for fields that exclude each other."""
        if self.output_format == "svg" or self.svg is not None:
            raise _unsupported("output_format", "svg is not supported; use png, jpeg, webp or gif")
        if self.background == "transparent":
            raise _unsupported("background", "transparent is not supported; the models here draw opaque pictures")
        if self.partial_images and not self.stream:
            raise _excluded("partial_images", "partial_images needs stream")
        if self.output_compression not in (None, 100) and self.output_format not in FORMATS:
            raise _excluded("output_compression", "output_compression is for jpeg and webp")
        if self.is_gif and self.stream:
            raise _excluded("stream", "a gif is not streamed; leave stream out")
        if not self.is_gif and (self.frame_count, self.frame_duration_ms) != (None, None):
            raise _excluded("frame_count", "frame_count and frame_duration_ms need output_format gif")


class EditFields(GenerationFields):
    """The fields of a request that changes a picture, besides the pictures."""

    input_fidelity: Literal["high", "low"] = Field(
        "low", description="high is a strength of 0.5, low the model's own (0.75, with a mask 1)."
    )


class VideoFields(_Fields):
    """The fields of a request for a film, besides its first frame."""

    prompt: str
    seconds: Annotated[float, Field(gt=0, le=3600, description="To the nearest 4k+1 frames.")] | None = None


def drawing(fields: VariationFields, ours: Mapping[str, object]) -> dict[str, object]:
    """The options of a request for pictures; further ones are `ours`."""
    values = {"prompts": "", "count": fields.n, **fields.options(), **with_real_guidance(ours)}
    if isinstance(fields, GenerationFields):
        values["prompts"] = fields.prompt
    if isinstance(fields, EditFields) and fields.input_fidelity in _FIDELITY:
        values = {"strength": _FIDELITY[fields.input_fidelity]} | values
    return values


def with_real_guidance(ours: Mapping[str, object]) -> dict[str, object]:
    """Options, with `true_cfg_scale` under the name that it has here."""
    if {"cfg_scale", "true_cfg_scale"} <= ours.keys():
        raise _excluded("true_cfg_scale", "true_cfg_scale is another name of cfg_scale; give one of the two")
    return {"cfg_scale" if name == "true_cfg_scale" else name: value for name, value in ours.items()}


def steps_share(fields: VariationFields, ours: Mapping[str, object]) -> float | None:
    """The steps that a quality stands for, as a share of the model's own; None for exactly those."""
    quality = fields.quality if isinstance(fields, GenerationFields) else "auto"
    return None if _STEPS & ours.keys() else _SHARES.get(quality)


def check_size(asked: Drawing, multiple: int | None, model: str) -> None:
    """Refused for a size whose sides are not multiples of the model's, with the nearest that are."""
    width, height = asked.width, asked.height
    if width is None or height is None or multiple is None or not (width % multiple or height % multiple):
        return
    near = [(_near(width, multiple, up=up), _near(height, multiple, up=up)) for up in (False, True)]
    line = " or ".join(f"{one}x{other}" for one, other in dict.fromkeys(near))
    raise Refused(
        f"size {width}x{height} does not fit {model}, whose sides are multiples of {multiple}; use {line}",
        option="size", code="invalid_value",
    )  # fmt: skip


def _near(side: int, multiple: int, *, up: bool) -> int:
    return max(1, math.ceil(side / multiple) if up else side // multiple) * multiple


def _unsupported(name: str, line: str) -> Refused:
    return Refused(line, option=name, code="unsupported_value")


def _excluded(name: str, line: str) -> Refused:
    return Refused(line, option=name, code="invalid_value")
