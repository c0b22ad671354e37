"""The image prompt of a request: a picture that the model reads beside the words."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from scorefield.request.option import Option
from scorefield.request.start import Given, given

ImagePrompt = Annotated[
    Given | None,
    Field(description="Draw after this picture, with or without words: for models that read one, such as unCLIP."),
    BeforeValidator(given),
    Option(flags=("--image-prompt",), expects="a picture, or a path to one", metavar="FILE"),
]
NoiseLevel = Annotated[
    int,
    Field(ge=0, le=999, description="Noise on --image-prompt: the more, the less closely it is followed."),
    Option(flags=("--noise-level",), expects="a whole number from 0 to 999"),
]


def with_empty_prompt(values: object) -> object:
    """The values of a request, with the empty prompt if there is an image prompt and no words."""
    if not isinstance(values, Mapping) or values.get("image_prompt") is None or values.keys() & {"prompt", "prompts"}:
        return values
    return {**values, "prompts": ""}
