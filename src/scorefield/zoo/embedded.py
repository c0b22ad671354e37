"""The model that ships inside the package: `scenes`, captioned pictures of 128 x 128."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from scorefield.core import clock, gauge, predict, schedule
from scorefield.core.denoiser import Preconditioned
from scorefield.latent.codec import Codec
from scorefield.nets.autoencoder import Autoencoder, AutoencoderConfig
from scorefield.nets.clip import Clip, ClipConfig, TextConfig, VisionConfig
from scorefield.nets.dit import Dit, DitConfig
from scorefield.prompt.text import TextConditioner
from scorefield.prompt.tokenizer import WordTokenizer
from scorefield.weights import own
from scorefield.zoo.model import Model
from scorefield.zoo.spec import Defaults, ModelSpec

ASSETS = Path(__file__).parent.parent / "assets"
AUTOENCODER, CLIP, GENERATOR = (f"scenes-{part}.safetensors" for part in ("autoencoder", "clip", "generator"))
TOKENIZER = "scenes-tokenizer.json"

SCENES = ModelSpec(
    name="scenes",
    about="Small pictures of 67 things on 15 places; ships with the package.",
    gauge=gauge.rf,
    clock=clock.flow,
    prediction=predict.flow,
    ladder=schedule.flow(),
    defaults=Defaults(steps=25, cfg_scale=3.0, sampler="euler", schedule="trailing", width=128, height=128),
    size_multiple=16,
    files=(AUTOENCODER, CLIP, GENERATOR, TOKENIZER),
)

C = TypeVar("C")


def _config(kind: type[C], stored: Mapping[str, own.Json], path: Path) -> C:
    """A configuration from a header; WeightsError if it is of another version."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if names != stored.keys():
        raise own.WeightsError(f"{path} was made by another version of scorefield; train or install it again")
    values: dict[str, Any] = dict(stored)
    return kind(**values)


def _built(module: nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype, path: Path) -> nn.Module:
    own.fill(module, tensors, dtype, path)
    return module.eval().requires_grad_(False)


def codec(folder: Path = ASSETS, dtype: torch.dtype = torch.float32) -> Codec:
    """The autoencoder in `dtype`, with its latents' statistics."""
    tensors, header = own.load(folder / AUTOENCODER, "autoencoder")
    config = _config(AutoencoderConfig, header.config, folder / AUTOENCODER)
    with torch.device("meta"):
        module = Codec(Autoencoder(config))
    _built(module, tensors, torch.float32, folder / AUTOENCODER)
    module.autoencoder.to(dtype=dtype, memory_format=torch.channels_last)  # the statistics stay in float32
    return module


def clip(folder: Path = ASSETS, dtype: torch.dtype = torch.float32) -> Clip:
    """The CLIP pair."""
    tensors, header = own.load(folder / CLIP, "clip")
    values: dict[str, Any] = dict(header.config)
    try:
        towers = {"vision": VisionConfig(**values.pop("vision")), "text": TextConfig(**values.pop("text"))}
        config = ClipConfig(**towers, **values)
    except (KeyError, TypeError) as error:
        raise own.WeightsError(f"{folder / CLIP} was made by another version of scorefield ({error})") from None
    with torch.device("meta"):
        module = Clip(config)
    _built(module, tensors, dtype, folder / CLIP)
    return module


def conditioner(folder: Path = ASSETS, dtype: torch.dtype = torch.float32) -> TextConditioner:
    """The tokenizer and the text tower."""
    return TextConditioner(WordTokenizer.from_file(folder / TOKENIZER), clip(folder, dtype))


def spec(folder: Path = ASSETS) -> ModelSpec:
    """The spec with the words that the generator's file says it knows."""
    header = own.read_header(folder / GENERATOR)
    return replace(SCENES, knows=cast(Mapping[str, Sequence[str]], header.notes.get("knows", {})))


def scenes(device: torch.device, dtype: torch.dtype, folder: Path = ASSETS) -> Model:
    """The whole model from the files in `folder`; WeightsError names a file that is missing or damaged."""
    path = folder / GENERATOR
    tensors, header = own.load(path, "generator")
    with torch.device("meta"):
        net = Dit(_config(DitConfig, header.config, path))
    _built(net, tensors, dtype, path)
    words = conditioner(folder, torch.float32)
    words.clip.to(device)
    return Model(
        spec=spec(folder),
        denoiser=Preconditioned(net.to(device), SCENES.prediction, SCENES.clock),
        conditioner=words,
        codec=codec(folder, dtype).to(device),
        device=device,
        dtype=dtype,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
