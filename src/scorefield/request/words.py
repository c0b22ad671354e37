"""The words to draw: the prompts, the negative prompt, and how they are read."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from scorefield.request.option import Group, option

MOST_PROMPTS = 256
LONGEST_PROMPT = 10_000  # characters
MOST_BLOCKS = 32  # of a text encoder: as in XL's second one

_LORA = re.compile(r"<(?:lora|lyco):[^>]*>?")  # A1111's syntax
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _readable(text: str) -> str:
    if len(text) > LONGEST_PROMPT:
        raise ValueError(f"a prompt of {len(text)} characters is too long; the limit is {LONGEST_PROMPT}")
    if _CONTROL.search(text):
        raise ValueError(f"the prompt {text[:40]!r} holds a control character; remove it")
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"the prompt {text[:40]!r} is not valid text; give it in UTF-8")
    if found := _LORA.search(text):
        raise ValueError(
            f"{found[0][:60]} is not supported in a prompt: remove it and give the file as --lora PATH:SCALE "
            "(in Python, loras=['PATH:SCALE'])"
        )
    return text


_Text = Annotated[str, AfterValidator(_readable)]
_Texts = Annotated[tuple[_Text, ...], Field(min_length=1, max_length=MOST_PROMPTS), BeforeValidator(_several)]


class Prompts(Group):
    """The words that every model takes."""

    title: ClassVar[str] = "Words"

    prompts: _Texts = option(..., names=("prompt",), flags=(), expects=f"a text, or 1 to {MOST_PROMPTS} texts")
    negative_prompt: _Text = option(
        "", "What the picture should not show.", letter="n", expects=f"a text of at most {LONGEST_PROMPT} characters"
    )


class ClipWords(Group):
    """How a published CLIP reads the words."""

    title: ClassVar[str] = "Words"
    instead: ClassVar[str] = "it is for Stable Diffusion"

    weighting: Literal["none", "a1111", "comfy", "compel"] = option(
        "none",
        "Whose syntax for weighted words, such as (this:1.3), to read: none, a1111, comfy or compel.",
        metavar="RULE",
    )
    long_prompt: Literal["chunks", "refuse"] | None = option(
        None, "What to do with a prompt of more than 75 tokens: read it in chunks, or refuse it.", metavar="HOW"
    )
    clip_skip: int = option(
        1,
        "Which block of the text encoder to read, counted back from the model's own, which is 1.",
        ge=1,
        le=MOST_BLOCKS,
        metavar="BLOCK",
    )
