"""The model choice: a model's name and files, its LoRAs and learned words, and the machine to run on."""

import os
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scorefield.request.option import Group, Name, option

MOST_LORAS, MOST_EMBEDDINGS = 64, 64
FARTHEST = 100.0  # largest strength of a LoRA, of either sign

_TWO = "name a LoRA's two scales, as in PATH:unet=0.8:te=0.5 (in Python also (PATH, {'unet': 0.8, 'te': 0.5}))"


def _path(value: object) -> object:
    return fspath(value) if isinstance(value, PathLike) else value


_Path = Annotated[str, Field(min_length=1, max_length=4096), BeforeValidator(_path)]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # sha256 of a file
Scale = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]


class Lora(BaseModel):
    """A LoRA file and its scale; with a `text_scale`, `scale` applies to the U-Net only.

    `sha256` is the hash of the file, as a record keeps it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: _Path
    scale: Scale = 1.0
    text_scale: Scale | None = None
    sha256: _Hash | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """Accept PATH, PATH:SCALE, PATH:unet=SCALE:te=SCALE, or a pair of a path and its scale or scales."""
        if isinstance(value, str):
            return _written(value)
        if isinstance(value, PathLike):
            return {"path": value}
        if isinstance(value, Sequence) and len(value) == 2:
            path, scale = value
            scales = _both(scale) if isinstance(scale, Mapping) else {"scale": scale}
            return {"path": path} | scales
        return value

    @property
    def scales(self) -> tuple[float, float]:
        """The scales of the U-Net and of the text encoders."""
        return self.scale, self.scale if self.text_scale is None else self.text_scale


def _written(text: str) -> dict[str, object]:
    parts = text.split(":")  # not a regular expression: a record may hold megabytes of text
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


class Embedding(BaseModel):
    """A textual inversion's file and its token; None for the token that the file names.

    `sha256` is the hash of the file, as a record keeps it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: _Path
    token: Name | None = None
    sha256: _Hash | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """Accept PATH, TOKEN=PATH, or a pair of the two."""
        if isinstance(value, str):
            token, equals, path = value.partition("=")
            named = equals and os.sep not in token  # a path may hold an equals sign, and a token holds no slash
            return {"path": path, "token": token} if named else {"path": value}
        if isinstance(value, PathLike):
            return {"path": value}
        if isinstance(value, Sequence) and len(value) == 2:
            token, path = value
            return {"path": path, "token": token}
        return value


Loras = Sequence[  # as a caller may pass them
    str | PathLike[str] | tuple[str | PathLike[str], float | Mapping[str, float]] | Lora
]
Embeddings = Sequence[str | PathLike[str] | tuple[str, str | PathLike[str]] | Embedding]  # as a caller may pass them


def _several(value: object) -> object:
    return (value,) if isinstance(value, str | PathLike | Lora | Embedding) else value


def _called(value: object) -> object:
    """The name of a torch.dtype or torch.device; anything else unchanged. torch is not imported here."""
    return str(value).removeprefix("torch.") if type(value).__module__ == "torch" else value


class ModelFiles(Group):
    """The files that a model is loaded from."""

    title: ClassVar[str] = "Model"

    model: _Path = option(
        "scenes",
        "A model's name (see `scorefield models`), a path, or owner/name on the Hugging Face hub.",
        letter="m",
        expects="a model's name, a path, or owner/name of the hub",
    )
    prediction: Literal["eps", "v"] | None = option(
        None, "What the network predicts, eps or v, if the file does not say."
    )
    variant: Annotated[str, Field(pattern=r"^\w{1,40}$")] | None = option(
        None,
        "Which variant of a folder's files to load: fp16, non_ema, ...",
        expects="a variant's name, such as fp16",
    )
    ema: bool = option(False, "Use the averaged (EMA) copy of the U-Net in a single file.")
    vae: _Path | None = option(
        None, "An autoencoder to use instead of the model's own.", expects="a path", metavar="PATH"
    )
    text_encoder: _Path | None = option(
        None,
        "A text encoder to use instead of the model's own (of Wan, whose networks may be separate files).",
        expects="a path",
        metavar="PATH",
    )
    image_encoder: _Path | None = option(
        None,
        "An image encoder to use instead of the model's own (of a Wan that draws films from pictures).",
        expects="a path",
        metavar="PATH",
    )
    loras: Annotated[tuple[Lora, ...], Field(max_length=MOST_LORAS), BeforeValidator(_several)] = option(
        (),
        "A LoRA and its scale (default 1), or its scales for U-Net and text encoder as PATH:unet=0.8:te=0.5; may be "
        "repeated.",
        names=("lora",),
        flags=("--lora",),
        expects=f"PATH, PATH:SCALE or PATH:unet=SCALE:te=SCALE, with scales from -{FARTHEST:g} to {FARTHEST:g}",
        metavar="PATH[:SCALE]",
        many=True,
    )
    embeddings: Annotated[tuple[Embedding, ...], Field(max_length=MOST_EMBEDDINGS), BeforeValidator(_several)] = option(
        (),
        "A textual inversion and its token (default: the file's own); may be repeated.",
        names=("embedding",),
        flags=("--embedding",),
        expects="PATH, or TOKEN=PATH",
        metavar="[TOKEN=]PATH",
        many=True,
    )


class Numerics(Group):
    """Whose numbers a model follows where two published programs compute it differently."""

    title: ClassVar[str] = "Model"
    instead: ClassVar[str] = "it is for Wan"

    like: Literal["original", "diffusers"] | None = option(
        None,
        "Whose numbers a Wan follows, original or diffusers (default: as its files are).",
    )


class Machine(Group):
    """Where and how the networks run."""

    title: ClassVar[str] = "Machine"

    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], BeforeValidator(_called)] = option(
        "auto", "Number format of the networks: auto (by device), float32, bfloat16 or float16."
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$"), BeforeValidator(_called)] = option(
        "auto", "Device to run on: auto, cpu, cuda, cuda:N or mps.", expects="auto, cpu, cuda, cuda:N or mps"
    )
    offload: bool = option(
        False,
        "Hold one network in memory at a time: each is read from its file for its turn, and freed after it. The "
        "picture is the same.",
    )
    cache: bool = option(
        True,
        "Remember on the disk what a large text encoder made of a prompt, and the hashes of files: the default.",
        flags=("--cache/--no-cache",),
    )
    compiled: bool = option(
        False, "Compile the network with torch; the first step at each size takes minutes.", names=("compile",)
    )


class ModelChoice(ModelFiles, Numerics, Machine):
    """The files of a model, and how to run it."""
