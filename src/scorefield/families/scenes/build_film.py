"""The film model that ships inside the package: `scenes-film`, a small Wan for captioned films of 128 x 128."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from scorefield.core import clock, gauge, noise_schedule, predict
from scorefield.core.denoiser import Preconditioned
from scorefield.errors import DamagedError
from scorefield.families.scenes.build_scenes import ASSETS, CLIP, TOKENIZER, conditioner, hash_files, network
from scorefield.input_files import Json
from scorefield.latent.film_codec import FilmCodec
from scorefield.latent.wan_latents import FilmLatents
from scorefield.model.spec import Defaults, ModelSpec
from scorefield.model.system import Place, System
from scorefield.nets.causal_vae import CausalVae, CausalVaeConfig
from scorefield.nets.video_dit import VideoDit, VideoDitConfig
from scorefield.prompt.text import UnmaskedTextConditioner
from scorefield.request import ModelChoice
from scorefield.request.size import Film
from scorefield.stages.diffusion import Diffusion
from scorefield.weights import scorefield_file

AUTOENCODER, TRANSFORMER = "scenes-film-autoencoder.safetensors", "scenes-film.safetensors"
FILES = (AUTOENCODER, CLIP, TRANSFORMER, TOKENIZER)

VAE = CausalVaeConfig(
    channels=12, width=20, decoder_width=20, multipliers=(3, 4), resblocks=1, halves_time=(True,), patch_size=4
)
DIT = VideoDitConfig(
    in_channels=12, out_channels=12, width=256, mlp_width=1024, depth=6, heads=4, text_width=256, text_length=32
)
NEGATIVE_PROMPT = "blurred, still, moving backwards, flickering, shaking, distorted, low quality"
SCENES_FILM = ModelSpec(
    name="scenes-film",
    about="Films of two seconds of moving things, 128 x 128; ships with the package.",
    gauge=gauge.rf,
    clock=clock.flow,
    prediction=predict.flow,
    ladder=noise_schedule.flow(),
    defaults=Defaults(
        steps=20,
        cfg_scale=5.0,
        sampler="unipc",
        schedule="trailing",
        width=128,
        height=128,
        negative_prompt=NEGATIVE_PROMPT,
        frames=17,
        fps=8.0,
    ),
    size_multiple=16,
)


def latents_notes(latents: FilmLatents) -> dict[str, Json]:
    """The statistics of an autoencoder's latents, as the notes of its file keep them."""
    return {name: [*map(_plain, values)] for name, values in latents._asdict().items()}


def _plain(value: float | Sequence[float]) -> Json:
    return [*value] if isinstance(value, Sequence) else value


def _latents(notes: Mapping[str, Json], channels: int, path: Path) -> FilmLatents:
    """The statistics in an autoencoder's file; DamagedError unless they fit its latents."""
    try:
        latents = FilmLatents(**{name: torch.tensor(notes[name]).tolist() for name in FilmLatents._fields})
        shapes = [tuple(torch.tensor(values).shape) for values in latents]
    except (KeyError, TypeError, ValueError):
        shapes = []
    if shapes != [(channels,), (channels,), (channels + 1, 3)]:
        raise DamagedError(f"{path} lacks the statistics of its latents; train or install it again")
    return latents


def codec(folder: Path = ASSETS, dtype: torch.dtype = torch.float32) -> FilmCodec:
    """The autoencoder in `dtype`, with its latents' statistics."""
    path = folder / AUTOENCODER
    module = network(path, "film-autoencoder", CausalVaeConfig, CausalVae, dtype)
    header = scorefield_file.read_header(path)
    return FilmCodec(module, _latents(header.notes, module.config.channels, path))


def spec(folder: Path = ASSETS) -> ModelSpec:
    """The spec with the words that the transformer's file says it knows."""
    header = scorefield_file.read_header(folder / TRANSFORMER)
    return replace(SCENES_FILM, knows=cast(Mapping[str, Sequence[str]], header.notes.get("knows", {})))


def is_there(folder: Path = ASSETS) -> bool:
    """Whether the two files of the film model are in `folder`."""
    return all((folder / name).is_file() for name in (AUTOENCODER, TRANSFORMER))


def scenes_film(place: Place, choice: ModelChoice, folder: Path = ASSETS) -> System:
    """The whole model from the files in `folder`; DamagedError names a file that is missing or damaged."""
    net = network(folder / TRANSFORMER, "film", VideoDitConfig, VideoDit, place.dtype)
    words = conditioner(folder, torch.float32, UnmaskedTextConditioner, reader=TRANSFORMER)
    words.clip.to(place.device)
    stage = Diffusion(
        spec=spec(folder),
        denoiser=Preconditioned(net.to(place.device), SCENES_FILM.prediction, SCENES_FILM.clock),
        conditioner=words,
        codec=codec(folder, place.dtype).to(place.device),
        device=place.device,
        further=frozenset({Film}),
    )
    return System(
        choice=choice,
        stages=(stage,),
        device=place.device,
        dtype=place.dtype,
        sha256=hash_files(folder, FILES),
        fixed={"long_prompt": SCENES_FILM.defaults.long_prompt},
    )
