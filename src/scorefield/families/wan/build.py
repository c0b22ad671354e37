"""Wan 2.1 and 2.2 out of the files that people have: the original folder, that of diffusers, and separate files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from scorefield.core.denoiser import Preconditioned
from scorefield.core.presence import Alternating
from scorefield.errors import DamagedError, RequestError, UnsupportedError
from scorefield.families.fill import Filling
from scorefield.families.wan import configs, parts
from scorefield.families.wan.parts import Parts
from scorefield.families.wan.separate_files import Source
from scorefield.families.wan.specs import SPECS, TASKS, Networks, spec_of, task_of
from scorefield.latent.film_codec import FilmCodec
from scorefield.model.part_names import Part
from scorefield.model.spec import ModelSpec
from scorefield.model.system import Place, System
from scorefield.nets.causal_vae import CausalVae
from scorefield.nets.clip import ImageEncoder
from scorefield.nets.experts import Experts
from scorefield.nets.umt5 import Umt5Encoder
from scorefield.nets.video_dit import VideoDit
from scorefield.prompt.film_pictures import FilmPicturesConditioner
from scorefield.prompt.sentence_pieces import Umt5Conditioner
from scorefield.request import Group, ModelChoice
from scorefield.request.model_choice import Numerics
from scorefield.request.sampling import FlowShift, SecondGuidance
from scorefield.request.size import Film
from scorefield.stages.diffusion import Diffusion
from scorefield.weights.checkpoint import Checkpoint

_TAKES: frozenset[type[Group]] = frozenset({Film, FlowShift, Numerics})
_PIPELINES = frozenset(task.pipeline for task in TASKS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """The files of a Wan, and the sizes of its networks."""

    checkpoint: Checkpoint
    networks: Networks


class Wan:
    """The family: a folder of the original layout, or of diffusers, or separate files; code in a .pth is never run."""

    names: Mapping[str, Recognised] = {}

    def specs(self) -> Sequence[ModelSpec]:
        """The kinds that are loaded from files."""
        return SPECS

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        """The model, if the files are a Wan; UnsupportedError for one that cannot be drawn with."""
        path = checkpoint.path
        if checkpoint.is_folder:
            name = checkpoint.folder.name
            if not name.startswith("Wan"):
                return None
            if name not in _PIPELINES:
                raise UnsupportedError(
                    f"{path} is a {name} that cannot be drawn with yet: only Wan from words and pictures can"
                )
            networks = configs.of_folder(checkpoint)
            if name != (fitting := task_of(networks).pipeline):
                raise UnsupportedError(f"{path} is a {name} with the transformer of a {fitting}")
            return Recognised(checkpoint=checkpoint, networks=networks)
        if configs.vae_of(path):
            return Recognised(checkpoint=checkpoint, networks=configs.original(path))
        separate = parts.separate(checkpoint)
        return None if separate is None else Recognised(checkpoint=checkpoint, networks=separate)

    def build(self, identity: Recognised, choice: ModelChoice, place: Place) -> System:
        """The model; its sha256 is computed while the weights are read, see `Filling`."""
        checkpoint, networks = identity.checkpoint, identity.networks
        if choice.like is not None:
            networks = replace(networks, transformer=replace(networks.transformer, like=choice.like))
        _refuse(choice)
        found = parts.gather(checkpoint, networks, choice)
        networks = found.networks
        spec, fill = spec_of(networks, choice.model), Filling(place)
        if stated := configs.shift(checkpoint):
            spec = replace(spec, defaults=replace(spec.defaults, shift=stated))
        net = _net(fill, networks, found.transformers)
        autoencoder = fill(lambda: CausalVae(networks.vae), Part.AUTOENCODER, *found.vae)
        codec = fill.settled(FilmCodec(autoencoder, networks.latents))
        stage = Diffusion(
            spec=spec,
            denoiser=Preconditioned(net, spec.prediction, spec.clock),
            conditioner=_conditioner(found, checkpoint.path, fill),
            codec=codec,
            device=place.device,
            further=_TAKES if networks.boundary is None else _TAKES | {SecondGuidance},
            on_demand=fill.on_demand,
        )
        return System(
            choice=found.choice.model_copy(update={"prediction": None, "like": networks.transformer.like}),
            stages=(stage,),
            device=place.device,
            dtype=place.dtype,
            sha256=fill.sha256,
            fixed={"long_prompt": "refuse"},
        )


def _refuse(choice: ModelChoice) -> None:
    """RequestError for choices that are for Stable Diffusion."""
    for name in ("prediction", "ema"):
        if getattr(choice, name):
            raise RequestError(f"{name} is not an option of Wan", option=name)


def _net(fill: Filling, networks: Networks, sources: Sequence[Source]) -> nn.Module:
    """The video transformer, or both experts."""

    def transformer() -> VideoDit:
        return VideoDit(networks.transformer)

    if networks.boundary is None:
        return fill(transformer, Part.TRANSFORMER, *sources[0])
    fill.add_to_hash(f"boundary {networks.boundary:g}")
    high, low = (
        fill(transformer, part, *source)
        for part, source in zip((Part.HIGH_NOISE, Part.LOW_NOISE), sources, strict=True)
    )
    experts = Experts(high, low, networks.boundary)
    Alternating(experts, (high, low))
    return experts


def _conditioner(found: Parts, path: Path, fill: Filling) -> Umt5Conditioner:
    encoder = fill(lambda: Umt5Encoder(found.networks.text), Part.TEXT, *found.text, late=True)
    try:
        words = Umt5Conditioner(found.tokenizer, encoder, fill.vectors(Part.TEXT))
    except ValueError as error:
        raise DamagedError(f"{path}: {error}") from None
    if found.image is None or (clip := found.networks.image_clip) is None:
        return words
    image = fill(lambda: ImageEncoder(clip.vision, None, clip.activation), Part.IMAGE, *found.image)
    return FilmPicturesConditioner(words.tokenizer, encoder, image, words.vectors)
