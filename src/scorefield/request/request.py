"""The one validated list of options: what to load, and what to draw."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import chain
from typing import Literal, Self, TypedDict, TypeVar

from pydantic import ValidationError, model_validator

from scorefield.errors import RequestError
from scorefield.request.input_pictures import ImageLike, LastPicture, PictureChange, PicturePrompt, StartPicture
from scorefield.request.model_choice import Machine, ModelChoice, ModelFiles, Numerics
from scorefield.request.option import Group, Option, names_of, short, shown
from scorefield.request.sampling import FlowShift, Sampling, SecondGuidance
from scorefield.request.size import MOST_PICTURES, Decoding, Film, Pictures
from scorefield.request.words import ClipWords, Prompts

# In the order of the help.
GROUPS: tuple[type[Group], ...] = (
    Prompts, ClipWords, PicturePrompt, ModelFiles, Numerics, Sampling, SecondGuidance, FlowShift, Pictures, Film,
    StartPicture, LastPicture, PictureChange, Decoding, Machine,
)  # fmt: skip


class Drawing(
    Prompts, ClipWords, PicturePrompt, Sampling, SecondGuidance, FlowShift, Pictures, Film, StartPicture, LastPicture,
    PictureChange, Decoding,
):  # fmt: skip
    """The pictures or films to draw; an option that is None is left to the model.

    They are numbered through the whole request: `count` for the first prompt, then for the second, and so on. Number k
    is drawn from seed + k.
    """

    @model_validator(mode="after")
    def _few_enough(self) -> Self:
        if (pictures := len(self.prompts) * self.count) > MOST_PICTURES:
            raise ValueError(f"{pictures} pictures are too many for one request; ask for at most {MOST_PICTURES}")
        return self

    @model_validator(mode="after")
    def _has_the_picture_that_options_need(self) -> Self:
        of_image = {"mask": self.mask, "strength": self.strength, "exact_steps": self.exact_steps or None}
        if self.image is None and (name := next((name for name, value in of_image.items() if value is not None), None)):
            raise ValueError(f"{name} needs an image to start from (--image)")
        return self


class Request(ModelChoice, Drawing):  # type: ignore[misc]  # pydantic's plugin: 3 bases there, 9 here
    """Which model to load, and what to draw with it."""


G = TypeVar("G", bound=Group)


class Options(TypedDict, total=False):
    """The keyword arguments of `Pipeline.__call__` and `Pipeline.stream`, including the names of other programs."""

    negative_prompt: str
    weighting: Literal["none", "a1111", "comfy", "compel"]
    long_prompt: Literal["chunks", "refuse"] | None
    clip_skip: int
    image_prompt: ImageLike
    noise_level: int
    steps: int | None
    num_inference_steps: int | None
    guidance: float | None
    guidance_scale: float | None
    cfg_scale: float | None
    cfg_scale_2: float | None
    guidance_scale_2: float | None
    cfg_rescale: float
    cfg_interval: tuple[float, float] | None
    sampler: str | None
    schedule: str | None
    scheduler: str | None
    eta: float | None
    shift: float | None
    seed: int | None
    count: int
    num_images_per_prompt: int
    batch_size: int
    size: int | str | tuple[int, int] | None
    width: int | None
    height: int | None
    frames: int | None
    fps: float | None
    image: ImageLike
    fit: str
    last_image: ImageLike
    mask: ImageLike
    strength: float | None
    exact_steps: bool
    paste: bool
    tile: int | str
    noise: str


def fields(group: type[Group]) -> Iterator[tuple[str, Option, str]]:
    """Name, form and description of each option of a group, in order; other ways to write a field come first."""
    for name, (option, words) in group.written_otherwise.items():
        yield name, option, words
    for name, field in group.model_fields.items():
        yield name, shown(name, field), field.description or ""


def group_of(field: str) -> type[Group]:
    """The group that has the field."""
    return next(group for group in GROUPS if field in group.model_fields)


def parse(values: Mapping[str, object]) -> Request:
    """The request that `values` describe, by name or alias; RequestError names the first value that is wrong."""
    return _parsed(Request, values)


def parse_choice(values: Mapping[str, object]) -> ModelChoice:
    """The model choice that `values` describe; errors as in `parse`."""
    return _parsed(ModelChoice, values)


def _parsed(kind: type[G], values: Mapping[str, object]) -> G:
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise RequestError(_line(error, values)) from None


def _line(error: ValidationError, values: Mapping[str, object]) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name = str(first["loc"][0]) if first["loc"] else "request"
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return "there is no prompt; say what to draw"
    known = {one: names_of(one, info) for one, info in Request.model_fields.items()}
    field = next((one for one, names in known.items() if name in names), None)
    if field is None:
        near = get_close_matches(name, {"size", *chain.from_iterable(known.values())})
        hint = f"nearest: {', '.join(near)}" if near else f"the options are {', '.join(known)}, size"
        return f"there is no option {name!r}; {hint}"
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        other = next(one for one in reversed(known[field]) if one in values)
        return f"{other} is another name of {field}; give one of the two"
    expects = shown(field, Request.model_fields[field]).expects
    if written := next((other for other in _WRITTEN_AS.get(field, ()) if other in values and name not in values), None):
        return f"{written} must give a {field} that is {expects}, not {short(first['input'])}"
    return f"{name} must be {expects}, not {short(first['input'])}"


# Fields that another option sets, which is then the one to name.
_WRITTEN_AS: Mapping[str, tuple[str, ...]] = {
    "cfg_scale": ("guidance_scale",), "width": ("size",), "height": ("size",)
}  # fmt: skip
