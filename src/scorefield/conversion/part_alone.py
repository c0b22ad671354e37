"""Convert a single part to its other layout: a U-Net, an autoencoder, a CLIP or one of its encoders."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from scorefield.conversion import folder_texts, networks
from scorefield.conversion.networks import Network
from scorefield.conversion.writer import METADATA, Conversion, WeightsFile, left
from scorefield.errors import UnsupportedError
from scorefield.families.stable_diffusion.folder_config import check
from scorefield.families.stable_diffusion.parts import Weights
from scorefield.families.stable_diffusion.specs import NETWORKS
from scorefield.input_files import read_json
from scorefield.latent.kl_codec import SCALE, XL_SCALE, published
from scorefield.nets.clip import VIT_B_32, VIT_H_14, VIT_L_14, Clip, ClipConfig, EncoderConfig
from scorefield.nets.kl import KL
from scorefield.weights.checkpoint import Checkpoint, Reader
from scorefield.weights.detect.identity import ClipIdentity, Family, Layout, ModelIdentity, Task, VaeIdentity
from scorefield.weights.key_map import Entry, needed_keys, under
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys

_UNETS = (Family.SD1, Family.SD2, Family.UNCLIP_H, Family.UNCLIP_L)
_CLIPS: Mapping[Family, ClipConfig] = {
    Family.VIT_B: VIT_B_32,  # the text encoder of both
    Family.VIT_B_32: VIT_B_32,
    Family.VIT_B_16: replace(VIT_B_32, vision=replace(VIT_B_32.vision, patch_size=16)),
    Family.VIT_L_14: VIT_L_14,
    Family.VIT_H_14: VIT_H_14,
}

Alone = ModelIdentity | VaeIdentity | ClipIdentity  # a U-Net, an autoencoder, a CLIP


def part_conversion(checkpoint: Checkpoint, found: Alone, *, to_folder: bool) -> Conversion:
    """The conversion of a single part to a folder of diffusers or transformers, or to its original layout.

    UnsupportedError for a part that has no other layout here, DamagedError for one that is damaged.
    """
    _check_settings(checkpoint.path, found)
    network = _network(checkpoint.path, found, checkpoint.reader())
    piece = network.piece(to_folder=to_folder, named=str(found.kind))
    name, texts = (network.file_name, {"config.json": folder_texts.text(network.config)}) if to_folder else ("", {})
    file = WeightsFile(name=name, pieces=(piece,), metadata=METADATA)
    return Conversion(files=(file,), texts=texts, left=left([piece]))


def _check_settings(path: Path, found: Alone) -> None:
    """UnsupportedError if the config.json next to the weights has a setting that these networks or a file cannot."""
    if not (file := path / "config.json").is_file() or (isinstance(found, ClipIdentity) and len(found.parts) > 1):
        return  # of a whole CLIP the configuration holds those of its encoders
    settings = read_json(file)
    check(path, "unet" if isinstance(found, ModelIdentity) else next(iter(found.parts)), settings)
    if isinstance(found, VaeIdentity) and settings.get("scaling_factor", SCALE) not in (SCALE, XL_SCALE):
        raise UnsupportedError(f"{path}: a single file cannot store vae scaling_factor {settings['scaling_factor']}")


def _network(path: Path, found: Alone, source: Reader) -> Network:
    if isinstance(found, ModelIdentity) and found.family in _UNETS and found.task not in (None, Task.UPSCALING):
        return _unet(found, source)
    if isinstance(found, VaeIdentity) and found.family is Family.KL_F8:
        stored = kl_keys.stored(KL, source.tensors, found.parts["vae"].prefix)
        return networks.vae(_weights(stored, source), KL, published(xl=False), 512)
    if isinstance(found, ClipIdentity) and found.family in _CLIPS:
        return _clip(found, source, _CLIPS[found.family])
    raise UnsupportedError(
        f"{path} is {found.kind} ({found.family}); the single parts that can be converted are those of Stable "
        "Diffusion 1 and 2, and CLIPs up to ViT-H/14"
    )


def _unet(found: ModelIdentity, source: Reader) -> Network:
    config = replace(NETWORKS[found.family].unet, in_channels=found.channels or 4)
    stored = unet_keys.ldm(config) if found.layout is Layout.LDM else unet_keys.diffusers(config)
    v = found.prediction is not None and found.prediction.value == "v"
    return networks.unet(_weights(stored, source), config, 768 if v else 512)


def _clip(found: ClipIdentity, source: Reader, config: ClipConfig) -> Network:
    openai, encoders = found.layout is Layout.OPENAI, found.parts.keys()
    if "text_encoder" not in encoders:
        vision, prefix = config.vision, found.parts["image_encoder"].prefix
        stored = clip_keys.openai_vision(vision) if openai else clip_keys.transformers_vision(vision)
        return networks.image_encoder(_weights(under("", prefix if openai else "", stored), source), config, "visual.")
    if "image_encoder" not in encoders:
        return _text_encoder(found, source, config)
    stored = clip_keys.openai(config) if openai else clip_keys.transformers(config)
    prefix = "model." if "model.logit_scale" in source.tensors else ""
    return Network(
        part="clip",
        build=lambda: Clip(config),
        weights=_weights(under("", prefix, stored), source),
        diffusers=[*clip_keys.transformers(config)],
        original=[*clip_keys.openai(config)],
        config=folder_texts.clip(config),
    )


def _text_encoder(found: ClipIdentity, source: Reader, config: ClipConfig) -> Network:
    prefix = found.parts["text_encoder"].prefix
    projected = any(key.startswith("text_projection") or key == f"{prefix}text_projection" for key in source.tensors)
    encoder = EncoderConfig(
        text=replace(config.text, layers=found.text.layers if found.text else config.text.layers),
        embed_dim=config.embed_dim if projected else None,
        activation=config.activation,
    )
    original = [*clip_keys.openai_text(encoder.text, projected=projected)]
    if found.layout is Layout.OPENAI:
        stored = under("", prefix, original)
    else:
        stored = clip_keys.transformers_text(encoder.text, projected=projected, prefix=prefix)
    return networks.text_encoder(_weights(stored, source), encoder, original)


def _weights(entries: Iterable[Entry], source: Reader) -> Weights:
    listed = list(entries)
    return Weights(listed, source, needed_keys(listed, source.tensors))
