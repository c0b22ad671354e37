"""Build Wan 2.1 from the original folder or from diffusers'."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scorefield.core.denoiser import Preconditioned
from scorefield.errors import DamagedError, MissingError, RequestError, UnsupportedError
from scorefield.families.fill import Filling
from scorefield.families.wan import configs
from scorefield.families.wan.specs import SPECS, Networks, spec_of
from scorefield.latent.film_codec import FilmCodec
from scorefield.model.spec import ModelSpec
from scorefield.model.system import Place, System
from scorefield.nets.causal_vae import CausalVae
from scorefield.nets.umt5 import Umt5Encoder
from scorefield.nets.video_dit import VideoDit
from scorefield.prompt.sentence_pieces import Umt5Conditioner, Umt5Tokenizer
from scorefield.request import Group, ModelChoice
from scorefield.request.sampling import FlowShift
from scorefield.request.size import Film
from scorefield.stages.diffusion import Diffusion
from scorefield.weights.checkpoint import Checkpoint, Reader
from scorefield.weights.key_map import Entry
from scorefield.weights.key_maps import umt5_keys, wan_keys, wan_vae_keys

_TAKES: frozenset[type[Group]] = frozenset({Film, FlowShift})
_PIPELINE = "WanPipeline"
# The files of the original folder besides its transformer.
_VAE, _TEXT, _TOKENIZER = "Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl"


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
            name, index = checkpoint.folder.name, checkpoint.folder.model_index
            if not name.startswith("Wan"):
                return None
            if name != _PIPELINE or index.get("transformer_2") not in (None, [None, None]):
                raise UnsupportedError(f"{path} is a {name} that cannot be drawn with yet: only Wan 2.1 from words can")
            return Recognised(checkpoint=checkpoint, networks=configs.of_folder(checkpoint))
        if not (path / _VAE).is_file():
            return None
        return Recognised(checkpoint=checkpoint, networks=configs.original(path))

    def build(self, identity: Recognised, choice: ModelChoice, place: Place) -> System:
        """The model; its sha256 is computed while the weights are read, see `Filling`."""
        checkpoint, networks = identity.checkpoint, identity.networks
        _refuse(choice)
        spec, fill = spec_of(networks.transformer), Filling(place)
        if stated := configs.shift(checkpoint):
            spec = replace(spec, defaults=replace(spec.defaults, shift=stated))
        transformer, vae, text = _sources(checkpoint, networks)
        net = fill(lambda: VideoDit(networks.transformer), "video transformer", *transformer)
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
            further=_TAKES,
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


Source = tuple[Sequence[Entry], Reader, Sequence[str]]


def _sources(checkpoint: Checkpoint, networks: Networks) -> tuple[Source, Source, Source]:
    """The weights of transformer, autoencoder and text encoder, by their maps."""
    if checkpoint.is_folder:
        entries = [*wan_keys.diffusers(networks.transformer)], [*wan_vae_keys.diffusers(networks.vae)]
        readers = [checkpoint.reader(part) for part in ("transformer", "vae", "text_encoder")]
    else:
        entries = [*wan_keys.original(networks.transformer)], [*wan_vae_keys.original(networks.vae)]
        readers = [Reader(checkpoint.path), *(_file(checkpoint.path, name) for name in (_VAE, _TEXT))]
    transformer, vae, text = readers
    return (
        (entries[0], transformer, [*transformer.tensors]),
        (entries[1], vae, [*vae.tensors]),
        (umt5_keys.stored(networks.text, text.tensors), text, umt5_keys.needed(text.tensors)),
    )


def _file(folder: Path, name: str) -> Reader:
    if not (folder / name).is_file():
        raise MissingError(f"{folder} lacks {name}; get the whole folder of Wan 2.1")
    return Reader(folder / name)
