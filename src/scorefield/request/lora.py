"""The LoRAs of a request: which files change the model's weights, and by how much."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Annotated

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scorefield.request.option import Option

MOST_LORAS = 64
FARTHEST = 100.0  # of a scale, either way

_TWO = "two scales of a LoRA are named, as PATH:unet=0.8:te=0.5 (in Python also (PATH, {'unet': 0.8, 'te': 0.5}))"

Scale = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]


class Lora(BaseModel):
    """One file and its scale; with a `text_scale`, `scale` is that of the U-Net alone.

    `sha256` is the hash of the file, which the record of a picture holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    scale: Scale = 1.0
    text_scale: Scale | None = None
    sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$")] = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """Accept PATH, PATH:SCALE, PATH:unet=SCALE:te=SCALE, or a pair of a path and its scale or scales."""
        if isinstance(value, str):
            return _written(value)
        if isinstance(value, PathLike):
            return {"path": fspath(value)}
        if isinstance(value, Sequence) and len(value) == 2:
            path, scale = value
            scales = _both(scale) if isinstance(scale, Mapping) else {"scale": scale}
            return {"path": fspath(path) if isinstance(path, PathLike) else path} | scales
        return value

    @property
    def scales(self) -> tuple[float, float]:
        """The scales of the U-Net and of the text towers."""
        return self.scale, self.scale if self.text_scale is None else self.text_scale


def _written(text: str) -> dict[str, object]:
    parts = text.split(":")  # no pattern: a record may hold a text of megabytes
    end = len(parts)
    while end > (1 if parts[0] else 2) and parts[end - 1].startswith(("unet=", "te=")):
        end -= 1
    if end < len(parts):
        scales = [part.partition("=") for part in parts[end:]]
        return {"path": ":".join(parts[:end])} | _both({name: scale for name, _, scale in scales})
    path, _, scale = text.rpartition(":")
    if not path or not _is_number(scale):
        return {"path": text}
    if _is_number(path.rpartition(":")[2]):
        raise ValueError(_TWO)  # A1111 has them in one order, ComfyUI in the other
    return {"path": path, "scale": scale}


def _both(named: Mapping[str, object]) -> dict[str, object]:
    if named.keys() != {"unet", "te"}:
        raise ValueError(_TWO)
    return {"scale": named["unet"], "text_scale": named["te"]}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _several(value: object) -> object:
    return (value,) if isinstance(value, str | PathLike | Lora) else value


Loras = Sequence[  # as a caller may write them
    str | PathLike[str] | tuple[str | PathLike[str], float | Mapping[str, float]] | Lora
]
LorasField = Annotated[
    tuple[Lora, ...],
    Field(
        max_length=MOST_LORAS,
        description="A LoRA that changes the model, and how much (1 where left out), or how much of U-Net and text "
        "tower, as PATH:unet=0.8:te=0.5; may be given several times.",
        validation_alias=AliasChoices("loras", "lora"),
    ),
    BeforeValidator(_several),
    Option(
        flags=("--lora",),
        expects=f"PATH, PATH:SCALE or PATH:unet=SCALE:te=SCALE, with scales from -{FARTHEST:g} to {FARTHEST:g}",
        metavar="PATH[:SCALE]",
        many=True,
    ),
]
