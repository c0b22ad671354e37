"""What a request starts from besides noise: a picture, how much of it to change, and where."""

import io
from os import PathLike, fspath
from typing import IO, Annotated, Literal, Protocol, runtime_checkable

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from scorefield.request.option import Option


class Given(BaseModel):
    """A picture that the caller gives: the `path` of its file, or the file's `data`.

    The record of a picture drawn from it holds the path and the sha256 of the data, not the data. Where a sha256 is
    given, a file with another one is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = None
    sha256: str | None = None
    data: Annotated[bytes | None, Field(exclude=True, repr=False)] = None


@runtime_checkable
class Savable(Protocol):
    """A picture in memory, such as one of Pillow's."""

    def save(self, fp: IO[bytes], format: str) -> None: ...  # noqa: A002 - Pillow's name


Giveable = str | PathLike[str] | bytes | Savable | Given | None  # how a caller may give a picture


def given(value: object) -> object:
    """A path, a file's bytes or a picture in memory as the fields of `Given`; anything else as it is."""
    if isinstance(value, str | PathLike):
        return {"path": fspath(value)}
    if isinstance(value, bytes):
        return {"data": value}
    if isinstance(value, Savable):
        stream = io.BytesIO()
        try:
            value.save(stream, "PNG")
        except OSError as error:
            raise ValueError(f"a picture that is no PNG ({error}); convert it to RGB first") from None
        return {"data": stream.getvalue()}
    return value


Image = Annotated[
    Given | None,
    Field(
        description="Start from this picture instead of from noise alone.",
        validation_alias=AliasChoices("image", "init_image", "init_img"),
    ),
    BeforeValidator(given),
    Option(
        flags=("-i", "--image", "--init-image", "--init-img"), expects="a picture, or a path to one", metavar="FILE"
    ),
]
Mask = Annotated[
    Given | None,
    Field(
        description="Paint anew where this picture is white, and keep the rest of --image.",
        validation_alias=AliasChoices("mask", "mask_image"),
    ),
    BeforeValidator(given),
    Option(flags=("--mask", "--mask-image"), expects="a picture, or a path to one", metavar="FILE"),
]
Strength = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="How much of the picture to change: the share of the steps that are walked. 0.75, with a mask 1.",
        validation_alias=AliasChoices("strength", "denoising_strength", "denoise"),
    ),
    Option(flags=("--strength", "--denoising-strength", "--denoise"), expects="a number from 0 to 1"),
]
ExactSteps = Annotated[
    bool,
    Field(description="Walk all of --steps whatever the strength, in smaller steps over the same way."),
    Option(flags=("--exact-steps",), expects="true or false", switch=True),
]
Fit = Annotated[
    Literal["crop", "stretch"],
    Field(description="How a picture of other proportions is brought to the size: crop or stretch."),
    Option(flags=("--fit",), expects="crop or stretch"),
]
Paste = Annotated[
    bool,
    Field(description="Put the kept pixels of a masked picture back exactly as they were (this is so by default)."),
    Option(flags=("--paste/--no-paste",), expects="true or false", switch=True),
]
