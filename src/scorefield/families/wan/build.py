"""Build Wan 2.1 from the original folder or from diffusers'."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from scorefield.core.denoiser import Preconditioned
from scorefield.errors import DamagedError, MissingError, RequestError, UnsupportedError
from scorefield.families.fill import Filling
from scorefield.families.wan import configs
from scorefield.families.wan.specs import SPECS, TASKS, Networks, spec_of, task_of
from scorefield.latent.film_codec import FilmCodec
from scorefield.model.spec import ModelSpec
from scorefield.model.system import Place, System
from scorefield.nets.causal_vae import CausalVae
from scorefield.nets.clip import ImageEncoder
from scorefield.nets.umt5 import Umt5Encoder
from scorefield.nets.video_dit import VideoDit
from scorefield.prompt.film_pictures import FilmPicturesConditioner
from scorefield.prompt.sentence_pieces import Umt5Conditioner, Umt5Tokenizer
from scorefield.request import Group, ModelChoice
from scorefield.request.model_choice import Numerics
from scorefield.request.sampling import FlowShift
from scorefield.request.size import Film
from scorefield.stages.diffusion import Diffusion
from scorefield.weights.checkpoint import Checkpoint, Reader
from scorefield.weights.key_map import Entry, needed_keys
from scorefield.weights.key_maps import clip_keys, umt5_keys, wan_keys, wan_vae_keys

_TAKES: frozenset[type[Group]] = frozenset({Film, FlowShift, Numerics})
_PIPELINES = frozenset(task.pipeline for task in TASKS.values())
# The files of the original folder besides its transformer.
_VAE, _TEXT, _TOKENIZER = "Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl"
_IMAGE = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """The files of a Wan, and the sizes of its networks."""

    checkpoint: Checkpoint
    networks: Networks


class Wan:
    """The family: a folder of the original layout, or of diffusers; code in a .pth is never run."""

    names: Mapping[str, Recognised] = {}

    def specs(self) -> Sequence[ModelSpec]:
        """The kinds that are loaded from files."""
        return SPECS

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        """The model, if the files are a Wan; UnsupportedError for one that cannot be drawn with."""
        path = checkpoint.path
        if checkpoint.is_folder:
            name, index = checkpoint.folder.name, checkpoint.folder.model_index
            if not name.startswith("Wan"):
                return None
            if name not in _PIPELINES or index.get("transformer_2") not in (None, [None, None]):
                raise UnsupportedError(
                    f"{path} is a {name} that cannot be drawn with yet: only Wan 2.1 from words and pictures can"
                )
            networks = configs.of_folder(checkpoint)
            if name != (fitting := task_of(networks.transformer).pipeline):
                raise UnsupportedError(f"{path} is a {name} with the transformer of a {fitting}")
            return Recognised(checkpoint=checkpoint, networks=networks)
        if not (path / _VAE).is_file():
            return None
        return Recognised(checkpoint=checkpoint, networks=configs.original(path))

    def build(self, identity: Recognised, choice: ModelChoice, place: Place) -> System:
        """The model; its sha256 is computed while the weights are read, see `Filling`."""
        checkpoint, networks = identity.checkpoint, identity.networks
        if choice.like is not None:
            networks = replace(networks, transformer=replace(networks.transformer, like=choice.like))
        _refuse(choice)
        spec, fill = spec_of(networks, choice.model), Filling(place)
        if stated := configs.shift(checkpoint):
            spec = replace(spec, defaults=replace(spec.defaults, shift=stated))
        transformer, vae, *_ = sources = _sources(checkpoint, networks)
        net = fill(lambda: VideoDit(networks.transformer), "video transformer", *transformer)
        autoencoder = fill(lambda: CausalVae(networks.vae), "autoencoder", *vae)
        stage = Diffusion(
            spec=spec,
            denoiser=Preconditioned(net, spec.prediction, spec.clock),
            conditioner=_conditioner(checkpoint, networks, sources, fill),
            codec=FilmCodec(autoencoder, networks.latents).to(fill.networks),
            device=place.device,
            further=_TAKES,
        )
        return System(
            choice=choice.model_copy(update={"prediction": None, "like": networks.transformer.like}),
            stages=(stage,),
            device=place.device,
            dtype=place.dtype,
            sha256=fill.sha256,
            fixed={"long_prompt": "refuse"},
        )


def _refuse(choice: ModelChoice) -> None:
    """RequestError for choices that are for Stable Diffusion."""
    for name in ("prediction", "ema", "vae"):
        if getattr(choice, name):
            raise RequestError(f"{name} is not an option of Wan", option=name)


def _conditioner(checkpoint: Checkpoint, networks: Networks, sources: "Sources", fill: Filling) -> Umt5Conditioner:
    encoder = fill(lambda: Umt5Encoder(networks.text), "text encoder", *sources.text)
    folder = "tokenizer" if checkpoint.is_folder else _TOKENIZER
    try:
        words = Umt5Conditioner(checkpoint.read(folder, Umt5Tokenizer.from_folder), encoder)
    except ValueError as error:
        raise DamagedError(f"{checkpoint.path}: {error}") from None
    if sources.image is None or (clip := networks.image_clip) is None:
        return words
    image = fill(lambda: ImageEncoder(clip.vision, None, clip.activation), "image encoder", *sources.image)
    return FilmPicturesConditioner(words.tokenizer, encoder, image)


Source = tuple[Sequence[Entry], Reader, Sequence[str]]


class Sources(NamedTuple):
    """The weights of each network: their map, their file, and the keys of it that the network needs."""

    transformer: Source
    vae: Source
    text: Source
    image: Source | None


def _sources(checkpoint: Checkpoint, networks: Networks) -> Sources:
    if checkpoint.is_folder:
        listed = [*wan_keys.diffusers(networks.transformer)], [*wan_vae_keys.diffusers(networks.vae)]
        names = "transformer", "vae", "text_encoder", "image_encoder"
    else:
        listed = [*wan_keys.original(networks.transformer)], [*wan_vae_keys.original(networks.vae)]
        names = "", _VAE, _TEXT, _IMAGE
    transformer, vae, text, *others = (
        checkpoint.reader(name) if checkpoint.is_folder or not name else _file(checkpoint.path, name)
        for name in (names if networks.image_clip else names[:3])
    )
    image = None
    if networks.image_clip is not None:
        (file,) = others
        image = _needed(
            clip_keys.stored_vision(networks.image_clip.vision, file.tensors),
            file,
            clip_keys.needed_vision(file.tensors),
        )
    return Sources(
        transformer=_needed(listed[0], transformer, transformer.tensors),
        vae=(listed[1], vae, [*vae.tensors]),
        text=(umt5_keys.stored(networks.text, text.tensors), text, umt5_keys.needed(text.tensors)),
        image=image,
    )


def _needed(entries: Sequence[Entry], source: Reader, keys: Iterable[str]) -> Source:
    """A source without the keys that files hold and no film depends on."""
    return entries, source, needed_keys(entries, keys)


def _file(folder: Path, name: str) -> Reader:
    if not (folder / name).is_file():
        raise MissingError(f"{folder} lacks {name}; get the whole folder of Wan 2.1")
    return Reader(folder / name)
