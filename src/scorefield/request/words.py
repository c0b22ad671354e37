"""The words to draw: the prompts, the negative prompt, and how they are read."""

import re
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field

from scorefield.request.option import Group, Option

MOST_PROMPTS = 256
LONGEST_PROMPT = 10_000  # characters
MOST_BLOCKS = 32  # of a text encoder: XL's second one

Texts = TypeVar("Texts", str, tuple[str, ...])

_LORA = re.compile(r"<(?:lora|lyco):[^>]*>?")  # as A1111 has it
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _readable(value: Texts) -> Texts:
    for text in (value,) if isinstance(value, str) else value:
        if len(text) > LONGEST_PROMPT:
            raise ValueError(f"a prompt of {len(text)} characters is too long; {LONGEST_PROMPT} are the most")
        if _CONTROL.search(text):
            raise ValueError(f"the prompt {text[:40]!r} holds a control character; remove it")
        if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError(f"the prompt {text[:40]!r} is not valid text; give it in UTF-8")
        if found := _LORA.search(text):
            raise ValueError(
                f"{found[0][:60]} in a prompt is not read here: take it out, and give the file as --lora PATH:SCALE "
                "(in Python, loras=['PATH:SCALE'])"
            )
    return value


class Prompts(Group):
    """The words that every model takes."""

    title: ClassVar[str] = "Words"

    prompts: Annotated[
        tuple[str, ...],
        Field(min_length=1, max_length=MOST_PROMPTS, validation_alias=AliasChoices("prompts", "prompt")),
        BeforeValidator(_several),
        AfterValidator(_readable),
        Option(flags=(), expects=f"a text, or 1 to {MOST_PROMPTS} texts"),
    ]
    negative_prompt: Annotated[
        str,
        Field(description="What the picture should not show."),
        AfterValidator(_readable),
        Option(flags=("-n", "--negative-prompt"), expects=f"a text of at most {LONGEST_PROMPT} characters"),
    ] = ""


class ClipWords(Group):
    """How a published CLIP reads the words."""

    title: ClassVar[str] = "Words"
    instead: ClassVar[str] = "it is for Stable Diffusion"

    weighting: Annotated[
        Literal["none", "a1111", "comfy", "compel"],
        Field(description="Whose signs weigh words, as (this:1.3) does: none, a1111, comfy or compel."),
        Option(flags=("--weighting",), expects="none, a1111, comfy or compel", metavar="RULE"),
    ] = "none"
    long_prompt: Annotated[
        Literal["chunks", "refuse"] | None,
        Field(description="What becomes of a prompt of more than 75 tokens: chunks or refuse."),
        Option(flags=("--long-prompt",), expects="chunks or refuse", metavar="HOW"),
    ] = None
    clip_skip: Annotated[
        int,
        Field(
            ge=1,
            le=MOST_BLOCKS,
            description="Which block of the text encoder is read, counted backwards from the model's own, which is 1.",
        ),
        Option(flags=("--clip-skip",), expects=f"a whole number from 1 to {MOST_BLOCKS}", metavar="BLOCK"),
    ] = 1
