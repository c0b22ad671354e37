"""How many pictures, and how large."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, cast

from pydantic import BeforeValidator, Field, model_validator

from scorefield.request.option import Group, Option, option, short

MOST_PICTURES = 1024
LONGEST_SIDE = 4096  # px
MOST_FRAMES = 1024
SEEDS = 2**64

_SIZE = re.compile(r"\s*(\d{1,9})\s*(?:[xX*\xd7]\s*(\d{1,9})\s*)?")


def sides(size: object) -> tuple[int, int]:
    """(width, height) of a size: N, "N", "WxH", "W*H" or a pair; ValueError for anything else."""
    if isinstance(size, int) and not isinstance(size, bool):
        return size, size
    if isinstance(size, str) and (match := _SIZE.fullmatch(size)):
        return int(match[1]), int(match[2] or match[1])
    if isinstance(size, Sequence) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return cast(tuple[int, int], tuple(size))
    raise ValueError(f"size must be WIDTHxHEIGHT such as 128x128, or one number for a square, not {short(size)}")


def _random(value: object) -> object:
    return None if value in (-1, "-1") else value


class Pictures(Group):
    """Number and size of the pictures, and their first seed."""

    title: ClassVar[str] = "Size and number"
    written_otherwise: ClassVar[dict[str, tuple[Option, str]]] = {
        "size": (
            Option(
                flags=("--size",), expects="WIDTHxHEIGHT such as 128x128, or one number for a square", metavar="WxH"
            ),
            "Width and height, or one number for a square.",
        )
    }

    seed: Annotated[int | None, BeforeValidator(_random)] = option(
        None,
        "Seed of the noise; -1 picks one at random.",
        ge=0,
        le=SEEDS - 1,
        expects="a whole number from 0 to 2^64 - 1, or -1 for a random one",
    )
    count: int = option(1, "Pictures per prompt.", names=("num_images_per_prompt",), letter="b", ge=1, le=MOST_PICTURES)
    batch_size: int = option(16, "Pictures drawn together.", ge=1, le=MOST_PICTURES)
    width: int | None = option(None, "Width in pixels.", letter="W", ge=8, le=LONGEST_SIDE)
    height: int | None = option(None, "Height in pixels.", letter="H", ge=8, le=LONGEST_SIDE)

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, values: object) -> object:
        """Replace a `size` by a width and a height."""
        if not isinstance(values, Mapping) or values.get("size") is None:
            return values
        width, height = sides(values["size"])
        return {"width": width, "height": height} | {key: value for key, value in values.items() if key != "size"}


class Film(Group):
    """The frames of a film."""

    title: ClassVar[str] = "Size and number"
    instead: ClassVar[str] = "it draws pictures; films need a film model"

    frames: int | None = option(None, "Number of frames, for models that draw films.", ge=1, le=MOST_FRAMES)
    fps: float | None = option(None, "Frames per second, for models that draw films.", gt=0, le=120)


class Decoding(Group):
    """How latents become pixels."""

    title: ClassVar[str] = "Machine"

    tile: Annotated[int, Field(ge=64, le=LONGEST_SIDE, multiple_of=8)] | Literal["auto", "off"] = option(
        "auto",
        "Side in pixels of the tiles to decode in: auto uses tiles above 1024 x 1024, off never.",
        expects=f"auto, off, or a multiple of 8 from 64 to {LONGEST_SIDE}",
    )
