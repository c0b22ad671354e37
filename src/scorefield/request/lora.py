"""The LoRAs of a request: which files change the model's weights, and by how much."""

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Annotated

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scorefield.request.option import Option

MOST_LORAS = 64
FARTHEST = 100.0  # of a scale, either way


class Lora(BaseModel):
    """One file and its scale; `sha256` is the file's, filled in where a picture was drawn with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    scale: Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)] = 1.0
    sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$")] = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """PATH, PATH:SCALE, or a pair of the two."""
        if isinstance(value, str):
            path, _, scale = value.rpartition(":")
            return {"path": path, "scale": scale} if path and _is_number(scale) else {"path": value}
        if isinstance(value, PathLike):
            return {"path": fspath(value)}
        if isinstance(value, Sequence) and len(value) == 2:
            path, scale = value
            return {"path": fspath(path) if isinstance(path, PathLike) else path, "scale": scale}
        return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _several(value: object) -> object:
    return (value,) if isinstance(value, str | PathLike | Lora) else value


Loras = Sequence[str | PathLike[str] | tuple[str | PathLike[str], float] | Lora]  # as a caller may write them
LorasField = Annotated[
    tuple[Lora, ...],
    Field(
        max_length=MOST_LORAS,
        description="A LoRA that changes the model, and how much (1 where left out); may be given several times.",
        validation_alias=AliasChoices("loras", "lora"),
    ),
    BeforeValidator(_several),
    Option(
        flags=("--lora",),
        expects=f"PATH, or PATH:SCALE with a scale from -{FARTHEST:g} to {FARTHEST:g}",
        metavar="PATH[:SCALE]",
        many=True,
    ),
]
