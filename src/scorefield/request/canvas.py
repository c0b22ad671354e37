"""The pictures of a request: how many, and how large."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, cast

from pydantic import AliasChoices, Field

from scorefield.errors import RequestError
from scorefield.request.option import Option

MOST_PICTURES = 1024
LONGEST_SIDE = 4096  # px

_SIZE = re.compile(r"\s*(\d{1,9})\s*(?:[xX*\xd7]\s*(\d{1,9})\s*)?")

Count = Annotated[
    int,
    Field(
        ge=1,
        le=MOST_PICTURES,
        description="Pictures of each prompt.",
        validation_alias=AliasChoices("count", "num_images_per_prompt"),
    ),
    Option(flags=("-b", "--count"), expects=f"a whole number from 1 to {MOST_PICTURES}"),
]
BatchSize = Annotated[
    int,
    Field(ge=1, le=MOST_PICTURES, description="Pictures drawn at once."),
    Option(flags=("--batch-size",), expects=f"a whole number from 1 to {MOST_PICTURES}"),
]
Width = Annotated[
    int | None,
    Field(ge=8, le=LONGEST_SIDE, description="Width in pixels."),
    Option(flags=("-W", "--width"), expects=f"a whole number from 8 to {LONGEST_SIDE}"),
]
Height = Annotated[
    int | None,
    Field(ge=8, le=LONGEST_SIDE, description="Height in pixels."),
    Option(flags=("-H", "--height"), expects=f"a whole number from 8 to {LONGEST_SIDE}"),
]
Tile = Annotated[
    Annotated[int, Field(ge=64, le=LONGEST_SIDE, multiple_of=8)] | Literal["auto", "off"],
    Field(description="Decode in tiles of so many pixels a side: auto does above 1024 x 1024, off never does."),
    Option(flags=("--tile",), expects=f"auto, off, or a multiple of 8 from 64 to {LONGEST_SIDE}"),
]


def sides(size: object) -> tuple[int, int]:
    """(width, height) of a size: N, "N", "WxH", "W*H" or a pair; RequestError for anything else."""
    if isinstance(size, int) and not isinstance(size, bool):
        return size, size
    if isinstance(size, str) and (match := _SIZE.fullmatch(size)):
        return int(match[1]), int(match[2] or match[1])
    if isinstance(size, Sequence) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return cast(tuple[int, int], tuple(size))
    raise RequestError(f"size must be WIDTHxHEIGHT such as 128x128, or one number for a square, not {size!r}")


def sized(values: object) -> object:
    """The values of a request with a width and a height in place of a `size`."""
    if not isinstance(values, Mapping) or values.get("size") is None:
        return values
    width, height = sides(values["size"])
    return {"width": width, "height": height} | {key: value for key, value in values.items() if key != "size"}
