"""The input pictures of a request: a start picture, its mask, a film's last frame, and an image prompt."""

import io
import sys
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scorefield.request.option import Group, option


class InputImage(BaseModel):
    """An input picture: the `path` of its file, or the file's `data`.

    A record keeps the path and the sha256 of the data, not the data. If a sha256 is given, a file with another one is
    refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = None
    sha256: str | None = None
    data: Annotated[bytes | None, Field(exclude=True, repr=False)] = None


ImageLike = Any  # what a caller may pass as a picture: a path, a file's bytes, a Pillow image, an InputImage, None


def _input_image(value: object) -> object:
    """Convert a path, a file's bytes or a picture in memory to the fields of `InputImage`; pass on anything else."""
    if isinstance(value, str | PathLike):
        return {"path": fspath(value)}
    if isinstance(value, bytes):
        return {"data": value}
    pillow = sys.modules.get("PIL.Image")  # unless Pillow is imported, no value is one of its pictures
    if pillow is not None and isinstance(value, pillow.Image):
        stream = io.BytesIO()
        try:
            value.save(stream, "PNG")
        except OSError as error:
            raise ValueError(f"this picture cannot be stored as PNG ({error}); convert it to RGB first") from None
        return {"data": stream.getvalue()}
    return value


_Given = Annotated[InputImage | None, BeforeValidator(_input_image)]


def _picture(description: str, *, names: Sequence[str] = (), letter: str | None = None) -> Any:
    """An option that takes a picture."""
    expects = "a picture, or a path to one"
    return option(None, description, names=names, letter=letter, expects=expects, metavar="FILE")


class StartPicture(Group):
    """A picture to start from, and how it is fitted to the size."""

    title: ClassVar[str] = "Start from a picture"

    image: _Given = _picture(
        "Start from this picture instead of pure noise; for a film, its first frame.",
        names=("init_image", "init_img", "first_frame"),
        letter="i",
    )
    fit: Literal["crop", "stretch"] = option("crop", "How to fit a picture of another aspect ratio: crop or stretch.")


class LastPicture(Group):
    """The picture that a film ends with."""

    title: ClassVar[str] = "Start from a picture"
    instead: ClassVar[str] = "a last frame needs a film model that reads a first and a last one"

    last_image: _Given = _picture("The last frame of the film, for models that read one.", names=("last_frame",))


class PictureChange(Group):
    """How much of the start picture changes, and where."""

    title: ClassVar[str] = "Start from a picture"

    mask: _Given = _picture("Repaint where this picture is white, and keep the rest of --image.", names=("mask_image",))
    strength: float | None = option(
        None,
        "How much of the picture changes: the share of the steps that are walked (0.75, with a mask 1).",
        names=("denoising_strength", "denoise"),
        ge=0,
        le=1,
    )
    exact_steps: bool = option(False, "Walk all of --steps at any strength, as smaller steps over the same range.")
    paste: bool = option(
        True,
        "Restore the pixels outside the mask exactly (the default).",
        flags=("--paste/--no-paste",),
    )


class PicturePrompt(Group):
    """A picture that the model reads in addition to the words."""

    title: ClassVar[str] = "Words"
    instead: ClassVar[str] = "give the picture as --image to start from it"

    image_prompt: _Given = _picture(
        "Use this picture as a prompt, with or without words; for models that read one, such as unCLIP."
    )
    noise_level: int = option(
        0, "Noise added to --image-prompt: the more, the less closely it is followed.", ge=0, le=999
    )

    @model_validator(mode="before")
    @classmethod
    def _with_empty_prompt(cls, values: object) -> object:
        """Fill in the empty prompt if there is an image prompt and no words."""
        if not isinstance(values, Mapping) or values.get("image_prompt") is None:
            return values
        return values if values.keys() & {"prompt", "prompts"} else {**values, "prompts": ""}

    @model_validator(mode="after")
    def _has_the_image_prompt_that_noise_needs(self) -> Self:
        if self.image_prompt is None and self.noise_level:
            raise ValueError("noise_level needs an image prompt (--image-prompt)")
        return self
