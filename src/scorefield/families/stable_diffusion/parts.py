"""Where the parts of a Stable Diffusion lie: in the folders of diffusers, or behind the prefixes of one ldm file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from scorefield.errors import RequestError, UnsupportedError
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.nets.clip import EncoderConfig
from scorefield.nets.kl import KlConfig
from scorefield.prompt.bpe import END_ID, ClipTokenizer
from scorefield.request import ModelChoice
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.detect import detect
from scorefield.weights.detect.identity import Kind
from scorefield.weights.diffusers_folder import SourceError
from scorefield.weights.key_map import Entry, under
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys
from scorefield.weights.pipeline import is_pipeline
from scorefield.weights.reader import Reader

EMBEDDER, NOISE_AUGMENTOR = (
    "embedder.",
    "noise_augmentor.",
)  # of unCLIP: families/stable_diffusion/image_encoder.py reads them
_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
FIRST, SECOND = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."  # of XL
_TRANSFORMERS, _OPENCLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
_EMA = "model_ema.diffusion_model"  # the averaged copy of the U-Net
# What training left in a single file and drawing does not need. That includes the averaged copy, unless it is asked
# for: a file with both copies was published to go on training from, with the weights for that in the usual place.
_LEFT = ("model_ema.", "first_stage_model.loss.", "cond_stage_model.model.attn_mask", "cond_stage_model.logit_scale")
_TABLES = (  # of the training's schedule
    "betas",
    "alphas_",
    "sqrt_",
    "log_one_minus_",
    "posterior_",
    "logvar",
    "scale_factor",
    "v_pred",
    "ztsnr",
    "denoiser.",
)


class Place(NamedTuple):
    """Where the weights of one network are."""

    entries: Sequence[Entry]  # the map between our names and those in the source
    source: Reader
    keys: Iterable[str]  # of the source, those that belong to this network


class Parts(NamedTuple):
    """Where the parts of every model are, none of them loaded yet; `encoder` configures the text tower in this file."""

    unet: Place
    kl: Place
    text: Place
    encoder: EncoderConfig
    tokenizer: ClipTokenizer


def parts(checkpoint: Checkpoint, networks: Networks, choice: ModelChoice) -> Parts:
    """The parts of the folder or file, with the autoencoder of `choice` in place of its own if there is one.

    SourceError for files that are missing or hold something else, RequestError for a choice that they lack.
    """
    vae = None if choice.vae is None else _other_vae(Path(choice.vae), networks.kl)
    if not checkpoint.is_folder:
        return _file(checkpoint, networks, vae, ema=choice.ema)
    if choice.ema:
        raise RequestError(f"{checkpoint.path} is a folder, whose U-Net is averaged unless its variant is non_ema")
    return _folder(checkpoint, networks, vae)


def _folder(checkpoint: Checkpoint, networks: Networks, vae: Place | None) -> Parts:
    unet_entries = unet_keys.diffusers(networks.unet, "add_embedding" if networks.text_2 else "class_embedding")
    return Parts(
        unet=_whole(unet_entries, checkpoint.reader("unet")),
        kl=vae or _folder_vae(checkpoint.reader("vae"), networks.kl),
        text=_text(networks.text, checkpoint.reader("text_encoder"), ""),
        encoder=networks.text,
        tokenizer=tokenizer_of(checkpoint.path / "tokenizer"),
    )


def _folder_vae(source: Reader, config: KlConfig) -> Place:
    return _whole(kl_keys.diffusers(config, old=kl_keys.has_old_names(source.tensors)), source)


def tokenizer_of(folder: Path) -> ClipTokenizer:
    """The tokenizer in a part's folder; SourceError for one that is missing or damaged."""
    try:
        return ClipTokenizer.from_folder(folder)
    except ValueError as error:
        raise SourceError(str(error).partition("\n")[0]) from None


def _file(checkpoint: Checkpoint, networks: Networks, vae: Place | None, *, ema: bool) -> Parts:
    path, source = checkpoint.path, checkpoint.reader()
    further = (EMBEDDER, NOISE_AUGMENTOR) if networks.image_clip else (FIRST, SECOND) if networks.text_2 else ()
    for key in source.tensors:
        if not key.startswith((_UNET, _VAE, _TRANSFORMERS, _OPENCLIP, *further, *_LEFT, *_TABLES)):
            raise SourceError(f"{path} holds {key!r}, which is of no part of a Stable Diffusion")
    openclip = any(key.startswith(_OPENCLIP) for key in source.tensors)
    encoder = _openclip(source, networks) if openclip else networks.text
    if encoder is None:
        raise SourceError(f"{path} has Stable Diffusion 2's text tower beside another U-Net")
    if openclip:
        entries = clip_keys.openai_text(encoder.text, projected=encoder.embed_dim is not None)
        text = placed(list(under("", _OPENCLIP, entries)), source, _OPENCLIP)
    else:
        text = _text(encoder, source, FIRST if networks.text_2 else _TRANSFORMERS)
    return Parts(
        unet=(_averaged if ema else _behind)(_UNET, unet_keys.ldm(networks.unet), source),
        kl=vae or _behind(_VAE, kl_keys.ldm(networks.kl), source),
        text=text,
        encoder=encoder,
        tokenizer=ClipTokenizer.packaged(pad_id=0 if openclip else END_ID),
    )


def _openclip(source: Reader, networks: Networks) -> EncoderConfig | None:
    """Stable Diffusion 2's text tower in a single file: as published, or without its last layer, as folders have it."""
    whole = networks.openclip
    if whole is None or f"{_OPENCLIP}text_projection" in source.tensors:
        return whole
    return networks.text


def _averaged(prefix: str, entries: Iterator[Entry], source: Reader) -> Place:
    """The averaged copy of the network behind `prefix`; its names are the network's without the dots."""
    keys = [key for key in source.tensors if key.startswith(_EMA)]
    if not keys:
        raise RequestError(f"{source.listing.path} has no averaged copy of its U-Net (EMA)")
    inner = prefix.removeprefix("model.").replace(".", "")
    copies = [replace(one, theirs=tuple(f"model_ema.{inner}{name.replace('.', '')}" for name in one.theirs))
              for one in entries]  # fmt: skip
    return Place(copies, source, keys)


def _other_vae(path: Path, config: KlConfig) -> Place:
    """The autoencoder at `path`: a file or folder that holds it alone, or a whole model."""
    source = Reader(path / "vae" if is_pipeline(path) else path)
    kind = detect(source.listing).kind
    if kind in (Kind.UNET, Kind.CLIP, Kind.LORA, Kind.EMBEDDING):
        raise UnsupportedError(f"{path} holds no autoencoder: it is a {kind}")
    prefix = _VAE if any(key.startswith(_VAE) for key in source.tensors) else ""
    ldm = f"{prefix}encoder.down.0.block.0.norm1.weight" in source.tensors
    entries = kl_keys.ldm(config) if ldm else kl_keys.diffusers(config, old=kl_keys.has_old_names(source.tensors))
    left = (f"{prefix}loss.", "model_ema.")
    keys = [key for key in source.tensors if key.startswith(prefix) and not key.startswith(left)]
    return Place(list(under("", prefix, entries)), source, keys)


def _whole(entries: Iterator[Entry], source: Reader) -> Place:
    """A network that has a source of its own."""
    return Place(list(entries), source, source.tensors)


def _behind(prefix: str, entries: Iterator[Entry], source: Reader) -> Place:
    """A network whose keys all begin with `prefix`."""
    keys = [key for key in source.tensors if key.startswith(prefix) and not key.startswith(_LEFT)]
    return Place(list(under("", prefix, entries)), source, keys)


def _text(encoder: EncoderConfig, source: Reader, prefix: str) -> Place:
    """A text tower with transformers' names, which in most files stand behind a further `text_model.`."""
    level = "text_model."
    inner = level if any(key.startswith(prefix + level) for key in source.tensors) else ""
    entries = clip_keys.transformers_text(encoder.text, projected=encoder.embed_dim is not None, prefix=inner)
    return placed(list(under("", prefix, entries)), source, prefix)


def placed(entries: Sequence[Entry], source: Reader, prefix: str) -> Place:
    """The place of a CLIP tower behind `prefix`, without the keys that some files have and no network needs."""
    keys = [key for key in source.tensors if key.startswith(prefix) and not key.startswith(_LEFT)]
    return Place(entries, source, list(clip_keys.used(entries, keys)))
