"""Wan 2.1 and 2.2 out of the files that people have: the original folder, and that of diffusers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from scorefield.core.denoiser import Preconditioned
from scorefield.errors import DamagedError, MissingError, RequestError, UnsupportedError
from scorefield.families.fill import Filling
from scorefield.families.wan import configs
from scorefield.families.wan.specs import SPECS, Networks, spec_of
from scorefield.latent.film_codec import FilmCodec
from scorefield.model.spec import ModelSpec
from scorefield.model.system import Place, System
from scorefield.nets.causal_vae import CausalVae
from scorefield.nets.experts import Experts
from scorefield.nets.umt5 import Umt5Encoder
from scorefield.nets.video_dit import VideoDit
from scorefield.prompt.sentence_pieces import Umt5Conditioner, Umt5Tokenizer
from scorefield.request import Group, ModelChoice
from scorefield.request.sampling import FlowShift, SecondGuidance
from scorefield.request.size import Film
from scorefield.stages.diffusion import Diffusion
from scorefield.weights.checkpoint import Checkpoint, Reader
from scorefield.weights.key_map import Entry
from scorefield.weights.key_maps import umt5_keys, wan_keys, wan_vae_keys

_TAKES: frozenset[type[Group]] = frozenset({Film, FlowShift})
_PIPELINE = "WanPipeline"
# The files of the original folder besides its transformers and its autoencoder.
_TEXT, _TOKENIZER = "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl"


Source = tuple[Sequence[Entry], Reader, Sequence[str]]  # of the weights of a network


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
        return tuple(SPECS.values())

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        """The model, if the files are a Wan; UnsupportedError for one that cannot be drawn with."""
        path = checkpoint.path
        if checkpoint.is_folder:
            name = checkpoint.folder.name
            if not name.startswith("Wan"):
                return None
            if name != _PIPELINE:
                raise UnsupportedError(f"{path} is a {name} that cannot be drawn with yet: only Wan from words can")
            return Recognised(checkpoint=checkpoint, networks=configs.of_folder(checkpoint))
        if not configs.vae_of(path):
            return None
        return Recognised(checkpoint=checkpoint, networks=configs.original(path))

    def build(self, identity: Recognised, choice: ModelChoice, place: Place) -> System:
        """The model; its sha256 is taken of the weights while they are read, see `Filling`."""
        checkpoint, networks = identity.checkpoint, identity.networks
        _refuse(choice)
        spec, fill = spec_of(networks), Filling(place)
        if stated := configs.shift(checkpoint):
            spec = replace(spec, defaults=replace(spec.defaults, shift=stated))
        transformers, vae, text = _sources(checkpoint, networks)
        net = _net(fill, networks, transformers)
        autoencoder = fill(lambda: CausalVae(networks.vae), "autoencoder", *vae)
        encoder = fill(lambda: Umt5Encoder(networks.text), "text encoder", *text)
        folder = "tokenizer" if checkpoint.is_folder else _TOKENIZER
        try:
            conditioner = Umt5Conditioner(checkpoint.read(folder, Umt5Tokenizer.from_folder), encoder)
        except ValueError as error:
            raise DamagedError(f"{checkpoint.path}: {error}") from None
        stage = Diffusion(
            spec=spec,
            denoiser=Preconditioned(net, spec.prediction, spec.clock),
            conditioner=conditioner,
            codec=FilmCodec(autoencoder, networks.latents).to(fill.networks),
            device=place.device,
            further=_TAKES if networks.boundary is None else _TAKES | {SecondGuidance},
        )
        return System(
            choice=choice.model_copy(update={"prediction": None}),
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


def _net(fill: Filling, networks: Networks, sources: Sequence[Source]) -> nn.Module:
    """The video transformer, or both experts."""

    def transformer() -> VideoDit:
        return VideoDit(networks.transformer)

    if networks.boundary is None:
        return fill(transformer, "video transformer", *sources[0])
    fill.add_to_hash(f"boundary {networks.boundary:g}")
    high, low = (
        fill(transformer, f"{noise}-noise transformer", *source)
        for noise, source in zip(("high", "low"), sources, strict=True)
    )
    return Experts(high, low, networks.boundary)


def _sources(checkpoint: Checkpoint, networks: Networks) -> tuple[list[Source], Source, Source]:
    """The weights of the transformers, the autoencoder and the text encoder, by their maps."""
    path, count = checkpoint.path, 1 if networks.boundary is None else 2
    if checkpoint.is_folder:
        entries = [*wan_keys.diffusers(networks.transformer)], [*wan_vae_keys.diffusers(networks.vae)]
        experts = [checkpoint.reader(part) for part in configs.EXPERTS[:count]]
        vae, text = checkpoint.reader("vae"), checkpoint.reader("text_encoder")
    else:
        entries = [*wan_keys.original(networks.transformer)], [*wan_vae_keys.original(networks.vae)]
        experts = [Reader(path / name) for name in (configs.ORIGINAL_EXPERTS if count == 2 else ("",))]
        vae, text = (_file(path, name) for name in (configs.vae_of(path), _TEXT))
    return (
        [(entries[0], one, [*one.tensors]) for one in experts],
        (entries[1], vae, [*vae.tensors]),
        (umt5_keys.stored(networks.text, text.tensors), text, umt5_keys.needed(text.tensors)),
    )


def _file(folder: Path, name: str) -> Reader:
    if not (folder / name).is_file():
        raise MissingError(f"{folder} lacks {name}; get the whole folder of Wan")
    return Reader(folder / name)
