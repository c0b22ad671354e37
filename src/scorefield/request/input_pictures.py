"""Pictures that a request gives: one to start from, a mask over it, and one to draw after."""

import io
import sys
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scorefield.request.option import Group, Option


class InputImage(BaseModel):
    """A picture that the caller gives: the `path` of its file, or the file's `data`.

    The record of a picture drawn from it holds the path and the sha256 of the data, not the data. Where a sha256 is
    given, a file with another one is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = None
    sha256: str | None = None
    data: Annotated[bytes | None, Field(exclude=True, repr=False)] = None


ImageLike = Any  # how a caller may give a picture: a path, a file's bytes, a picture of Pillow's, an InputImage, None


def _input_image(value: object) -> object:
    """A path, a file's bytes or a picture in memory as the fields of `InputImage`; anything else as it is."""
    if isinstance(value, str | PathLike):
        return {"path": fspath(value)}
    if isinstance(value, bytes):
        return {"data": value}
    pillow = sys.modules.get("PIL.Image")  # without Pillow in memory, nothing can be a picture of its
    if pillow is not None and isinstance(value, pillow.Image):
        stream = io.BytesIO()
        try:
            value.save(stream, "PNG")
        except OSError as error:
            raise ValueError(f"a picture that is no PNG ({error}); convert it to RGB first") from None
        return {"data": stream.getvalue()}
    return value


class StartPicture(Group):
    """A picture to start from, how much of it to change, and where."""

    title: ClassVar[str] = "Start from a picture"

    image: Annotated[
        InputImage | None,
        Field(
            description="Start from this picture instead of from noise alone.",
            validation_alias=AliasChoices("image", "init_image", "init_img"),
        ),
        BeforeValidator(_input_image),
        Option(
            flags=("-i", "--image", "--init-image", "--init-img"), expects="a picture, or a path to one", metavar="FILE"
        ),
    ] = None
    mask: Annotated[
        InputImage | None,
        Field(
            description="Repaint where this picture is white, and keep the rest of --image.",
            validation_alias=AliasChoices("mask", "mask_image"),
        ),
        BeforeValidator(_input_image),
        Option(flags=("--mask", "--mask-image"), expects="a picture, or a path to one", metavar="FILE"),
    ] = None
    strength: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="Share of the steps that are walked, so how much of the picture changes: 0.75, with a mask 1.",
            validation_alias=AliasChoices("strength", "denoising_strength", "denoise"),
        ),
        Option(flags=("--strength", "--denoising-strength", "--denoise"), expects="a number from 0 to 1"),
    ] = None
    exact_steps: Annotated[
        bool,
        Field(description="Walk all of --steps whatever the strength, in smaller steps over the same way."),
        Option(flags=("--exact-steps",), expects="true or false", switch=True),
    ] = False
    fit: Annotated[
        Literal["crop", "stretch"],
        Field(description="How a picture of other proportions is brought to the size: crop or stretch."),
        Option(flags=("--fit",), expects="crop or stretch"),
    ] = "crop"
    paste: Annotated[
        bool,
        Field(description="Put the kept pixels of a masked picture back exactly as they were (this is so by default)."),
        Option(flags=("--paste/--no-paste",), expects="true or false", switch=True),
    ] = True

    @model_validator(mode="after")
    def _has_the_picture_that_options_need(self) -> Self:
        of_image = {"mask": self.mask, "strength": self.strength, "exact_steps": self.exact_steps or None}
        if self.image is None and (name := next((name for name, value in of_image.items() if value is not None), None)):
            raise ValueError(f"{name} needs an image to start from (--image)")
        return self


class PicturePrompt(Group):
    """A picture that the model reads besides the words."""

    title: ClassVar[str] = "Words"
    instead: ClassVar[str] = "give the picture as --image to start from it"

    image_prompt: Annotated[
        InputImage | None,
        Field(description="Draw after this picture, with or without words: for models that read one, such as unCLIP."),
        BeforeValidator(_input_image),
        Option(flags=("--image-prompt",), expects="a picture, or a path to one", metavar="FILE"),
    ] = None
    noise_level: Annotated[
        int,
        Field(ge=0, le=999, description="Noise on --image-prompt: the more, the less closely it is followed."),
        Option(flags=("--noise-level",), expects="a whole number from 0 to 999"),
    ] = 0

    @model_validator(mode="before")
    @classmethod
    def _with_empty_prompt(cls, values: object) -> object:
        """The empty prompt where there is an image prompt and no words."""
        if not isinstance(values, Mapping) or values.get("image_prompt") is None:
            return values
        return values if values.keys() & {"prompt", "prompts"} else {**values, "prompts": ""}

    @model_validator(mode="after")
    def _has_the_image_prompt_that_noise_needs(self) -> Self:
        if self.image_prompt is None and self.noise_level:
            raise ValueError("noise_level needs an image prompt (--image-prompt)")
        return self
