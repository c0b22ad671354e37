"""The conversion of a single part to its other layout: a U-Net, an autoencoder, a CLIP or one of its encoders."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from scorefield.conversion import diffusers_config as configs
from scorefield.conversion.folder_texts import text
from scorefield.conversion.writer import METADATA, Conversion, Piece, WeightsFile, left
from scorefield.errors import UnsupportedError
from scorefield.families.fill import fits
from scorefield.families.stable_diffusion.settings import check
from scorefield.input_files import Json, read_json
from scorefield.latent.kl_codec import SCALE, XL_SCALE
from scorefield.nets import unet as nets
from scorefield.nets.clip import (
    VIT_B_32,
    VIT_H_14,
    VIT_L_14,
    Clip,
    ClipConfig,
    EncoderConfig,
    ImageEncoder,
    TextEncoder,
)
from scorefield.nets.kl import KL, Kl
from scorefield.nets.meta_init import hollow
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import ClipIdentity, Family, Layout, ModelIdentity, Task, VaeIdentity
from scorefield.weights.key_map import Entry, needed_keys, under
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys
from scorefield.weights.reader import Reader

_UNETS: Mapping[Family, UnetConfig] = {
    Family.SD1: nets.SD1,
    Family.SD2: nets.SD2,
    Family.UNCLIP_H: nets.SD2_UNCLIP_H,
    Family.UNCLIP_L: nets.SD2_UNCLIP_L,
}
_CLIPS: Mapping[Family, ClipConfig] = {
    Family.VIT_B: VIT_B_32,  # the text encoder of both
    Family.VIT_B_32: VIT_B_32,
    Family.VIT_B_16: replace(VIT_B_32, vision=replace(VIT_B_32.vision, patch_size=16)),
    Family.VIT_L_14: VIT_L_14,
    Family.VIT_H_14: VIT_H_14,
}

_Alone = ModelIdentity | VaeIdentity | ClipIdentity  # a U-Net, an autoencoder, a CLIP


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A network and its names in both layouts."""

    net: nn.Module  # on the meta device
    original: Iterator[Entry]  # in the layout of the training code: ldm's, or OpenAI's for a CLIP
    diffusers: Iterator[Entry]  # in the layout of diffusers, or of transformers for a CLIP
    stored: Iterator[Entry]  # in the source
    config: Mapping[str, Json]
    stem: str = "diffusion_pytorch_model"  # the name of its weights in a folder, without the suffix


def part_conversion(checkpoint: Checkpoint, found: _Alone, *, to_folder: bool) -> Conversion:
    """The conversion of a part alone to a folder of diffusers or transformers, or to its original layout.

    UnsupportedError for a part that has no other layout here, DamagedError for one that is damaged.
    """
    source = checkpoint.reader()
    _check_settings(checkpoint.path, found)
    with hollow():
        part = _part(checkpoint.path, found, source)
    stored = list(part.stored)
    fits(ours := part.net.state_dict(), str(found.kind), stored, source, needed_keys(stored, source.tensors))
    piece = Piece(source=source, ours=ours, stored=stored, written=list(part.diffusers if to_folder else part.original))
    name = f"{part.stem}.safetensors" if to_folder else ""
    return Conversion(
        files=(WeightsFile(name=name, pieces=(piece,), metadata=METADATA),),
        texts={"config.json": text(part.config)} if to_folder else {},
        left=left([piece]),
    )


def _check_settings(path: Path, found: _Alone) -> None:
    """UnsupportedError if the configuration beside the weights says what neither these networks nor a file can."""
    if not (file := path / "config.json").is_file() or (isinstance(found, ClipIdentity) and len(found.parts) > 1):
        return  # of a whole CLIP the configuration holds those of its towers
    settings = read_json(file)
    check(path, "unet" if isinstance(found, ModelIdentity) else next(iter(found.parts)), settings)
    if isinstance(found, VaeIdentity) and settings.get("scaling_factor", SCALE) not in (SCALE, XL_SCALE):
        raise UnsupportedError(f"{path}: vae scaling_factor {settings['scaling_factor']} has no place in one file")


def _part(path: Path, found: _Alone, source: Reader) -> _Part:
    refused = UnsupportedError(
        f"{path} is {found.kind} ({found.family}); of parts alone, those of Stable Diffusion 1 and 2 and the CLIPs up "
        "to ViT-H/14 have another layout here"
    )
    if isinstance(found, ModelIdentity):
        if found.family not in _UNETS or found.task in (None, Task.UPSCALING):
            raise refused
        return _unet(found)
    if isinstance(found, VaeIdentity):
        if found.family is not Family.KL_F8:
            raise refused
        return _vae(found, source)
    if found.family not in _CLIPS:
        raise refused
    return _clip(found, source)


def _unet(found: ModelIdentity) -> _Part:
    config = replace(_UNETS[found.family], in_channels=found.channels or 4)
    v = found.prediction is not None and found.prediction.value == "v"
    return _Part(
        net=Unet(config),
        original=unet_keys.ldm(config),
        diffusers=unet_keys.diffusers(config),
        stored=unet_keys.ldm(config) if found.layout is Layout.LDM else unet_keys.diffusers(config),
        config=configs.unet(config, 768 if v else 512, upcast=v),
    )


def _vae(found: VaeIdentity, source: Reader) -> _Part:
    return _Part(
        net=Kl(KL),
        original=kl_keys.ldm(KL),
        diffusers=kl_keys.diffusers(KL),
        stored=iter(kl_keys.stored(KL, source.tensors, found.parts["vae"].prefix)),
        config=configs.vae(KL, 512),
    )


def _clip(found: ClipIdentity, source: Reader) -> _Part:
    config, towers = _CLIPS[found.family], found.parts.keys()
    if towers == {"text_encoder", "image_encoder"}:
        stored = clip_keys.openai(config) if found.layout is Layout.OPENAI else clip_keys.transformers(config)
        return _Part(
            net=Clip(config),
            original=clip_keys.openai(config),
            diffusers=clip_keys.transformers(config),
            stored=under("", "model.", stored) if "model.logit_scale" in source.tensors else stored,
            config=configs.clip(config),
            stem="model",
        )
    return _text(found, source, config) if "text_encoder" in towers else _image(found, config)


def _text(found: ClipIdentity, source: Reader, config: ClipConfig) -> _Part:
    prefix = found.parts["text_encoder"].prefix
    projected = any(key.startswith("text_projection") or key == f"{prefix}text_projection" for key in source.tensors)
    encoder = EncoderConfig(
        text=replace(config.text, layers=found.text.layers if found.text else config.text.layers),
        embed_dim=config.embed_dim if projected else None,
        activation=config.activation,
    )
    if found.layout is Layout.OPENAI:
        stored = under("", prefix, clip_keys.openai_text(encoder.text, projected=projected))
    else:
        stored = clip_keys.transformers_text(encoder.text, projected=projected, prefix=prefix)
    return _Part(
        net=TextEncoder(encoder),
        original=clip_keys.openai_text(encoder.text, projected=projected),
        diffusers=clip_keys.transformers_text(encoder.text, projected=projected),
        stored=stored,
        config=configs.text_encoder(encoder),
        stem="model",
    )


def _image(found: ClipIdentity, config: ClipConfig) -> _Part:
    prefix = found.parts["image_encoder"].prefix
    stored = clip_keys.transformers_vision(config.vision)
    return _Part(
        net=ImageEncoder(config.vision, config.embed_dim, config.activation),
        original=under("", "visual.", clip_keys.openai_vision(config.vision)),
        diffusers=clip_keys.transformers_vision(config.vision),
        stored=under("", prefix, clip_keys.openai_vision(config.vision)) if found.layout is Layout.OPENAI else stored,
        config=configs.image_encoder(config),
        stem="model",
    )
