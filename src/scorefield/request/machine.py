"""The model of a request, and how and where its networks run."""

from os import PathLike, fspath
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from scorefield.request.option import Option


def _path(value: object) -> object:
    return fspath(value) if isinstance(value, PathLike) else value


def _called(value: object) -> object:
    """The name of a torch.dtype or a torch.device, of which nothing is imported here."""
    return str(value).removeprefix("torch.") if type(value).__module__ == "torch" else value


Model = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        description="A model's name: see `scorefield models`; a path to one; or owner/name on the Hugging Face hub.",
    ),
    BeforeValidator(_path),
    Option(flags=("-m", "--model"), expects="a model's name, a path, or owner/name of the hub"),
]
Prediction = Annotated[
    Literal["eps", "v"] | None,
    Field(description="What a file's network predicts, eps or v, where the file does not tell it."),
    Option(flags=("--prediction",), expects="eps or v"),
]
Variant = Annotated[
    str | None,
    Field(
        pattern=r"^\w{1,40}$", description="Which of a folder's files to load, where it has several: fp16, non_ema, ..."
    ),
    Option(flags=("--variant",), expects="a variant's name, such as fp16"),
]
Ema = Annotated[
    bool,
    Field(description="Draw with the averaged copy of the U-Net, for a single file that has both."),
    Option(flags=("--ema",), expects="true or false", switch=True),
]
Vae = Annotated[
    str | None,
    Field(min_length=1, max_length=4096, description="A path whose autoencoder takes the place of the model's own."),
    BeforeValidator(_path),
    Option(flags=("--vae",), expects="a path", metavar="PATH"),
]
Compiled = Annotated[
    bool,
    Field(description="Have torch compile the network: the first step of each size takes minutes."),
    Option(flags=("--compiled", "--compile"), expects="true or false", switch=True),
]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    Field(description="Number format of the networks: auto (by device), float32, bfloat16 or float16."),
    BeforeValidator(_called),
    Option(flags=("--dtype",), expects="auto, float32, bfloat16 or float16"),
]
Device = Annotated[
    str,
    Field(
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="Where the network runs: auto, cpu, cuda, cuda:N or mps.",
    ),
    BeforeValidator(_called),
    Option(flags=("--device",), expects="auto, cpu, cuda, cuda:N or mps"),
]
