"""The picture model that ships inside the package: `scenes`, captioned pictures of 128 x 128."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_origin, get_type_hints

import torch
from torch import nn

from scorefield.core import clock, gauge, noise_schedule, predict
from scorefield.core.denoiser import Preconditioned
from scorefield.errors import DamagedError, MissingError
from scorefield.families.fill import hollow
from scorefield.input_files import Json
from scorefield.latent.latent_codec import PictureCodec
from scorefield.latent.scenes_codec import Codec
from scorefield.model.spec import Defaults, ModelSpec
from scorefield.model.system import Place, System
from scorefield.nets.autoencoder import Autoencoder, AutoencoderConfig
from scorefield.nets.clip import Clip, ClipConfig
from scorefield.nets.dit import Dit, DitConfig
from scorefield.prompt.text import TextConditioner
from scorefield.prompt.tokenizer import WordTokenizer
from scorefield.request import ModelChoice
from scorefield.stages.diffusion import Diffusion
from scorefield.weights import scorefield_file

ASSETS = Path(__file__).parents[2] / "assets"
AUTOENCODER, CLIP, GENERATOR = (f"scenes-{part}.safetensors" for part in ("autoencoder", "clip", "generator"))
TOKENIZER = "scenes-tokenizer.json"
FILES = (AUTOENCODER, CLIP, GENERATOR, TOKENIZER)

SCENES = ModelSpec(
    name="scenes",
    about="Small pictures of 67 things on 15 places; ships with the package.",
    gauge=gauge.rf,
    clock=clock.flow,
    prediction=predict.flow,
    ladder=noise_schedule.flow(),
    defaults=Defaults(steps=25, cfg_scale=5.0, sampler="euler", schedule="trailing", width=128, height=128),
    size_multiple=16,
)

C = TypeVar("C")
M = TypeVar("M", bound=nn.Module)


def _read(hint: Any, stored: Json | Mapping[str, Json]) -> Any:
    """A stored value as the type `hint`, where a dataclass is stored by its fields; ValueError for anything else."""
    if get_origin(hint) is tuple:
        if not isinstance(stored, list):
            raise ValueError(f"{stored!r} is no list")
        return tuple(stored)
    if not is_dataclass(hint):
        if hint in (int, float, str) and not isinstance(stored, hint):
            raise ValueError(f"{stored!r} is no {hint.__name__}")
        return stored
    hints = get_type_hints(hint)
    values = stored if isinstance(stored, Mapping) else {}
    if odd := sorted(hints.keys() ^ values.keys()):
        raise ValueError(f"{odd[0]} is {'missing' if odd[0] in hints else 'unknown'}")
    build = cast(Callable[..., Any], hint)
    return build(**{name: _read(hints[name], value) for name, value in values.items()})


def network(
    path: Path, kind: str, config: type[C], build: Callable[[C], M], dtype: torch.dtype, *, empty: bool = False
) -> M:
    """The network in a file of ours; DamagedError if another version of scorefield wrote its configuration.

    An `empty` one has no numbers.
    """
    tensors, header = ({}, scorefield_file.read_header(path)) if empty else scorefield_file.load(path, kind)
    try:
        stored = cast(C, _read(config, header.config))
    except ValueError as error:
        message = f"{path} was made by another version of scorefield ({error}); train or install it again"
        raise DamagedError(message) from None
    with hollow():
        module = build(stored)
    if empty:
        module.to(dtype)
    else:
        scorefield_file.fill(module, tensors, dtype, path)
    return module.eval().requires_grad_(False)


def codec(folder: Path = ASSETS, dtype: torch.dtype = torch.float32, *, empty: bool = False) -> Codec:
    """The autoencoder in `dtype`, with its latents' statistics, which stay in float32; without numbers if `empty`."""
    path = folder / AUTOENCODER
    module = network(
        path, "autoencoder", AutoencoderConfig, lambda one: Codec(Autoencoder(one)), torch.float32, empty=empty
    )
    module.autoencoder.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def clip(folder: Path = ASSETS, dtype: torch.dtype = torch.float32, *, empty: bool = False) -> Clip:
    """The CLIP pair; without numbers if `empty`."""
    return network(folder / CLIP, "clip", ClipConfig, Clip, dtype, empty=empty)


def conditioner(
    folder: Path = ASSETS,
    dtype: torch.dtype = torch.float32,
    build: type[TextConditioner] = TextConditioner,
    *,
    reader: str | None = None,
    empty: bool = False,
) -> TextConditioner:
    """The tokenizer and the text encoder, in a conditioner; the encoder has no numbers if `empty`.

    `reader` is the file of the network that reads the conditions: it knows no other words than it was trained on.
    """
    own_clip = clip(folder, dtype, empty=empty)
    try:
        tokenizer = WordTokenizer.from_file(folder / TOKENIZER)
        if reader and isinstance(words := scorefield_file.read_header(folder / reader).notes.get("words"), list):
            tokenizer = tokenizer.limited([*map(str, words)])
        return build(tokenizer, own_clip)
    except FileNotFoundError:
        raise MissingError(f"{folder / TOKENIZER}: no such file or folder") from None
    except (OSError, ValueError) as error:
        raise DamagedError(f"{folder / TOKENIZER} cannot be used ({error}); get it again") from None


def spec(folder: Path = ASSETS) -> ModelSpec:
    """The spec with the words that the generator's file says it knows."""
    header = scorefield_file.read_header(folder / GENERATOR)
    return replace(SCENES, knows=cast(Mapping[str, Sequence[str]], header.notes.get("knows", {})))


def hash_files(folder: Path, names: Sequence[str] = FILES) -> str:
    """One hash over every file of a model, so that a change in any of them is a change of the model."""
    return hashlib.sha256(b"".join(hashlib.sha256((folder / name).read_bytes()).digest() for name in names)).hexdigest()


def scenes(place: Place, choice: ModelChoice, folder: Path = ASSETS) -> System:
    """The whole model from the files in `folder`; DamagedError names a file that is missing or damaged."""
    empty, device = place.hollow, torch.device("meta") if place.hollow else place.device
    net = network(folder / GENERATOR, "generator", DitConfig, Dit, place.dtype, empty=empty)
    words = conditioner(folder, torch.float32, reader=GENERATOR, empty=empty)
    words.clip.to(device)
    stage = Diffusion(
        spec=spec(folder),
        denoiser=Preconditioned(net.to(device), SCENES.prediction, SCENES.clock),
        conditioner=words,
        codec=PictureCodec(codec(folder, place.dtype, empty=empty).to(device)),
        device=place.device,
    )
    return System(
        choice=choice,
        stages=(stage,),
        device=place.device,
        dtype=place.dtype,
        sha256=hash_files(folder),
        fixed={"long_prompt": SCENES.defaults.long_prompt},
    )
