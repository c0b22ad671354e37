"""The conversion of a Wan, or of a part of one, between diffusers' folder and the separate files of ComfyUI."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch

from scorefield.conversion import folder_texts, wan_texts
from scorefield.conversion.networks import Network
from scorefield.conversion.writer import METADATA, Constants, Conversion, WeightsFile, left
from scorefield.errors import UnsupportedError
from scorefield.families.stable_diffusion.parts import Weights
from scorefield.families.wan import configs, parts, separate_files
from scorefield.families.wan.build import Wan
from scorefield.families.wan.parts import Parts
from scorefield.families.wan.separate_files import Source
from scorefield.families.wan.specs import Networks, spec_of, task_of
from scorefield.input_files import read_bytes
from scorefield.latent.wan_latents import FilmLatents
from scorefield.nets.causal_vae import CausalVae, CausalVaeConfig
from scorefield.nets.clip import ClipConfig, ImageEncoder
from scorefield.nets.umt5 import Umt5Config, Umt5Encoder
from scorefield.nets.video_dit import VideoDit, VideoDitConfig
from scorefield.prompt.sentence_pieces import JSON, SPIECE
from scorefield.request import ModelChoice
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.film_shapes import SPIECE as SPIECE_KEY
from scorefield.weights.detect.identity import FilmVaeIdentity, TextEncoderIdentity, TransformerIdentity
from scorefield.weights.key_maps import clip_keys, umt5_keys, wan_keys, wan_vae_keys

Layout = Literal["diffusers", "ldm", "comfyui"]

_TOKENIZER_FILES = (JSON, SPIECE, "tokenizer_config.json", "special_tokens_map.json")
_COMFYUI = {  # part of diffusers' folder -> its file in those of ComfyUI; {} is the model's name
    "transformer": "diffusion_models/{}.safetensors",
    "vae": "vae/{}.safetensors",
    "text_encoder": "text_encoders/umt5_xxl.safetensors",
    "image_encoder": "clip_vision/clip_vision_h.safetensors",
}


def part_of_wan(checkpoint: Checkpoint, *, to_folder: bool) -> Conversion | None:
    """The conversion of a transformer, an autoencoder or a text encoder; None for anything else."""
    found, path = checkpoint.identity, checkpoint.path
    if not isinstance(found, TransformerIdentity | FilmVaeIdentity | TextEncoderIdentity):
        return None
    reader, extra = checkpoint.reader(), dict[str, bytes]()
    if isinstance(found, TransformerIdentity):
        config = separate_files.transformer_config(path, found)
        network = _transformer(separate_files.transformer(reader, config), config)
    elif isinstance(found, FilmVaeIdentity):
        sizes, latents, source = separate_files.vae(reader)
        network = _vae(source, sizes, latents)
    else:
        text, source = separate_files.text_encoder(reader)
        network = _text_encoder(source, text)
        if separate_files.has_tokenizer(reader):
            extra[SPIECE] = reader.fetch(SPIECE_KEY).numpy().tobytes()
    piece = network.piece(to_folder=to_folder)
    if to_folder:
        file = WeightsFile(name=network.file_name, pieces=(piece,), metadata=METADATA)
        texts: dict[str, str | bytes] = {"config.json": folder_texts.text(network.config), **extra}
        return Conversion(files=(file,), texts=texts, left=left([piece]))
    file = WeightsFile(name="", pieces=[piece, *map(_words, extra.values())], metadata=METADATA)
    return Conversion(files=(file,), texts={}, left=left([piece]))


def whole_wan(checkpoint: Checkpoint, to: Layout) -> Conversion | None:
    """The conversion of a folder with a whole model to diffusers' folder or to ComfyUI's; None for another model."""
    recognised = Wan().recognise(checkpoint) if checkpoint.path.is_dir() else None
    if recognised is None:
        return None
    if to == "ldm":
        raise UnsupportedError(f"{checkpoint.path} is a Wan, which is several files: --to comfyui writes them")
    found = parts.gather(checkpoint, recognised.networks, ModelChoice())
    model = _Whole(checkpoint=checkpoint, found=found, networks=_networks(found))
    return model.folder() if to == "diffusers" else model.separate_files()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """A whole model to be converted."""

    checkpoint: Checkpoint
    found: Parts
    networks: Mapping[str, Network]  # by part of diffusers' folder

    def folder(self) -> Conversion:
        """Diffusers' folder."""
        pieces = {one.part: one.piece(to_folder=True) for one in self.networks.values()}
        files = [
            WeightsFile(name=f"{part}/{self.networks[part].file_name}", pieces=(piece,), metadata=METADATA)
            for part, piece in pieces.items()
        ]
        stated = self.checkpoint.folder.scheduler if self.checkpoint.is_folder else None
        steps = stated or wan_texts.scheduler(self._shift)
        texts: dict[str, str | bytes] = {
            **wan_texts.pipeline(self.found.networks, steps, {part: one.config for part, one in self.networks.items()}),
            **{f"tokenizer/{name}": data for name, data in self._tokenizer.items()},
        }
        return Conversion(files=files, texts=texts, left=left([*pieces.values()]))

    def separate_files(self) -> Conversion:
        """ComfyUI's files."""
        path = self.checkpoint.path
        if reason := next(self._unsaid(), None):
            raise UnsupportedError(f"{path} has {reason}, which separate files cannot store")
        if SPIECE not in self._tokenizer:
            raise UnsupportedError(f"{path} lacks its tokenizer's {SPIECE}, which ComfyUI's text encoder has in it")
        pieces = {part: one.piece(to_folder=False) for part, one in self.networks.items()}
        files = [WeightsFile(name=self._file(part), pieces=(one,), metadata=METADATA) for part, one in pieces.items()]
        files = [
            replace(one, pieces=(*one.pieces, _words(self._tokenizer[SPIECE])))
            if one.name == _COMFYUI["text_encoder"]
            else one
            for one in files
        ]
        stated = configs.shift(self.checkpoint)
        setting = {} if stated in (None, self._spec_shift) else {f"the scheduler's flow_shift {stated:g}": 1}
        return Conversion(files=files, texts={}, left={**left([*pieces.values()]), **setting})

    def _file(self, part: str) -> str:
        """The file of a part in ComfyUI's folders."""
        name = self.checkpoint.path.resolve().name
        if part == "vae":
            name = "wan2.2_vae" if self.found.networks.vae.shortcuts else "wan_2.1_vae"
        elif self.found.networks.boundary is not None:
            name += "_low_noise" if part == configs.EXPERTS[1] else "_high_noise"
        return _COMFYUI[part.removesuffix("_2")].format(name)

    def _unsaid(self) -> Iterator[str]:
        """What the folder states about its model and separate files do not, in words."""
        networks = self.found.networks
        transformer, experts = networks.transformer, task_of(networks).experts
        if transformer.width != transformer.heads * separate_files.HEAD:
            yield f"heads of width {transformer.width // transformer.heads}"
        if (networks.latents.mean, networks.latents.deviation) not in [
            (one.mean, one.deviation) for one in separate_files.LATENTS.values()
        ]:
            yield "latents of its own (latents_mean, latents_std)"
        if networks.boundary is not None and experts and networks.boundary != experts.boundary:
            yield f"a boundary of its own ({networks.boundary / 1000:g})"
        if networks.image_clip not in (None, separate_files.IMAGE_CLIP):
            yield "an image encoder of other sizes"

    @property
    def _spec_shift(self) -> float | None:
        """The flow shift that its files show by their sizes and name."""
        return spec_of(self.found.networks, str(self.checkpoint.path)).defaults.shift

    @property
    def _shift(self) -> float:
        return cast(float, configs.shift(self.checkpoint) or self._spec_shift)

    @property
    def _tokenizer(self) -> dict[str, bytes]:
        """The tokenizer's files by name."""
        folder = self.checkpoint.path / ("tokenizer" if self.checkpoint.is_folder else parts.TOKENIZER)
        return {name: read_bytes(folder / name) for name in _TOKENIZER_FILES if (folder / name).is_file()}


def _networks(found: Parts) -> dict[str, Network]:
    """The networks of a whole model by part."""
    networks: Networks = found.networks
    made = [
        *(
            _transformer(source, networks.transformer, part)
            for part, source in zip(configs.EXPERTS, found.transformers, strict=False)
        ),
        _vae(found.vae, networks.vae, networks.latents),
        _text_encoder(found.text, networks.text),
    ]
    if found.image is not None and networks.image_clip is not None:
        made.append(_image_encoder(found.image, networks.image_clip))
    return {one.part: one for one in made}


def _transformer(source: Source, config: VideoDitConfig, part: str = configs.EXPERTS[0]) -> Network:
    return Network(
        part=part,
        build=lambda: VideoDit(config),
        weights=Weights(*source),
        diffusers=[*wan_keys.diffusers(config)],
        original=[*wan_keys.original(config)],
        config=wan_texts.transformer(config),
    )


def _vae(source: Source, config: CausalVaeConfig, latents: FilmLatents) -> Network:
    return Network(
        part="vae",
        build=lambda: CausalVae(config),
        weights=Weights(*source),
        diffusers=[*wan_vae_keys.diffusers(config)],
        original=[*wan_vae_keys.original(config)],
        config=wan_texts.vae(config, latents),
    )


def _text_encoder(source: Source, config: Umt5Config) -> Network:
    entries = [*umt5_keys.transformers(config)]  # which ComfyUI reads, too
    return Network(
        part="text_encoder",
        build=lambda: Umt5Encoder(config),
        weights=Weights(*source),
        diffusers=entries,
        original=entries,
        config=wan_texts.text_encoder(config),
    )


def _image_encoder(source: Source, config: ClipConfig) -> Network:
    entries = [*clip_keys.transformers_vision(config.vision, projected=False)]  # which ComfyUI reads, too
    return Network(
        part="image_encoder",
        build=lambda: ImageEncoder(config.vision, None, config.activation),
        weights=Weights(*source),
        diffusers=entries,
        original=entries,
        config=wan_texts.image_encoder(config),
    )


def _words(model: bytes) -> Constants:
    """A sentencepiece model as ComfyUI has it in the text encoder's file."""
    return Constants({SPIECE_KEY: torch.frombuffer(bytearray(model), dtype=torch.uint8)})
