"""Where the parts of a Stable Diffusion lie: in the folders of diffusers, or behind the prefixes of one ldm file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from scorefield.errors import DamagedError, RequestError, UnsupportedError
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.nets.clip import EncoderConfig
from scorefield.nets.kl import KlConfig
from scorefield.prompt.bpe import END_ID, ClipTokenizer
from scorefield.request import ModelChoice
from scorefield.weights.checkpoint import Checkpoint, Reader
from scorefield.weights.checkpoint_layout import (
    EMA,
    IMAGE_ENCODER,
    NOISE_AUGMENTOR,
    OPENCLIP,
    TRANSFORMERS,
    UNET,
    VAE,
    XL_TEXT,
    XL_TEXT_2,
    check_rest,
)
from scorefield.weights.detect.identify import identify_file
from scorefield.weights.detect.identity import Kind
from scorefield.weights.key_map import Entry, needed_keys, under
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys
from scorefield.weights.model_files import is_diffusers_folder


class Place(NamedTuple):
    """Where the weights of one network are."""

    entries: Sequence[Entry]  # the map between our names and those in the source
    source: Reader
    keys: Iterable[str]  # of the source, those that belong to this network


class Parts(NamedTuple):
    """The places of every model's parts, none loaded yet; `encoder` configures the text encoder of this file."""

    unet: Place
    kl: Place
    text: Place
    encoder: EncoderConfig
    tokenizer: ClipTokenizer


def parts(checkpoint: Checkpoint, networks: Networks, choice: ModelChoice) -> Parts:
    """The parts of the folder or file, with the autoencoder of `choice` in place of its own if there is one.

    DamagedError for files that are missing or hold something else, RequestError for a choice that they lack.
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
        kl=vae or _vae(networks.kl, checkpoint.reader("vae"), ""),
        text=_text(networks.text, checkpoint.reader("text_encoder"), ""),
        encoder=networks.text,
        tokenizer=checkpoint.read("tokenizer", tokenizer_of),
    )


def tokenizer_of(folder: Path) -> ClipTokenizer:
    """The tokenizer in a part's folder; DamagedError for one that is missing or damaged."""
    try:
        return ClipTokenizer.from_folder(folder)
    except ValueError as error:
        raise DamagedError(str(error).partition("\n")[0]) from None


def _file(checkpoint: Checkpoint, networks: Networks, vae: Place | None, *, ema: bool) -> Parts:
    path, source = checkpoint.path, checkpoint.reader()
    openclip = any(key.startswith(OPENCLIP) for key in source.tensors)
    encoder = _openclip(source, networks) if openclip else networks.text
    if encoder is None:
        raise DamagedError(f"{path} has Stable Diffusion 2's text encoder with another model's U-Net")
    if openclip:
        entries = clip_keys.openai_text(encoder.text, projected=encoder.embed_dim is not None)
        text = placed(list(under("", OPENCLIP, entries)), source, OPENCLIP)
    else:
        text = _text(encoder, source, XL_TEXT if networks.text_2 else TRANSFORMERS)
    unet = (_averaged if ema else _behind)(UNET, unet_keys.ldm(networks.unet), source)
    kl = vae or _vae(networks.kl, source, VAE)
    further = (IMAGE_ENCODER, NOISE_AUGMENTOR) if networks.image_clip else (XL_TEXT_2,) if networks.text_2 else ()
    used = {*unet.keys, *kl.keys, *text.keys}
    parts_of_its_own = (UNET, *further, *([VAE] if vae else []))
    check_rest(path, [key for key in source.tensors if key not in used and not key.startswith(parts_of_its_own)])
    return Parts(
        unet=unet,
        kl=kl,
        text=text,
        encoder=encoder,
        tokenizer=ClipTokenizer.packaged(pad_id=0 if openclip else END_ID),
    )


def _openclip(source: Reader, networks: Networks) -> EncoderConfig | None:
    """Stable Diffusion 2's text encoder in one file: as published, or without its last layer, as in folders."""
    whole = networks.openclip
    if whole is None or f"{OPENCLIP}text_projection" in source.tensors:
        return whole
    return networks.text


def _averaged(prefix: str, entries: Iterator[Entry], source: Reader) -> Place:
    """The averaged copy of the network behind `prefix`; its names are the network's without the dots."""
    keys = [key for key in source.tensors if key.startswith(EMA)]
    if not keys:
        raise RequestError(f"{source.index.path} has no averaged copy of its U-Net (EMA)")
    inner = prefix.removeprefix("model.").replace(".", "")
    copies = [replace(one, theirs=tuple(f"model_ema.{inner}{name.replace('.', '')}" for name in one.theirs))
              for one in entries]  # fmt: skip
    return Place(copies, source, keys)


def _other_vae(path: Path, config: KlConfig) -> Place:
    """The autoencoder at `path`: a file or folder that holds it alone, or a whole model."""
    source = Reader(path / "vae" if is_diffusers_folder(path) else path)
    kind = identify_file(source.index).kind
    if kind in (Kind.UNET, Kind.CLIP, Kind.LORA, Kind.EMBEDDING):
        raise UnsupportedError(f"{path} holds no autoencoder: it is a {kind}")
    return _vae(config, source, VAE if any(key.startswith(VAE) for key in source.tensors) else "")


def _vae(config: KlConfig, source: Reader, prefix: str) -> Place:
    """The autoencoder behind `prefix`, in either layout."""
    return placed(kl_keys.stored(config, source.tensors, prefix), source, prefix)


def _whole(entries: Iterator[Entry], source: Reader) -> Place:
    """A network that has a source of its own."""
    return Place(list(entries), source, source.tensors)


def _behind(prefix: str, entries: Iterator[Entry], source: Reader) -> Place:
    """A network whose keys all begin with `prefix`."""
    return placed(list(under("", prefix, entries)), source, prefix)


def _text(encoder: EncoderConfig, source: Reader, prefix: str) -> Place:
    """A text encoder with transformers' names, which most files put behind a further `text_model.`."""
    level = "text_model."
    inner = level if any(key.startswith(prefix + level) for key in source.tensors) else ""
    entries = clip_keys.transformers_text(encoder.text, projected=encoder.embed_dim is not None, prefix=inner)
    return placed(list(under("", prefix, entries)), source, prefix)


def placed(entries: Sequence[Entry], source: Reader, prefix: str) -> Place:
    """The place of a network behind `prefix`, without the keys that some files have and no network needs."""
    return Place(entries, source, needed_keys(entries, (key for key in source.tensors if key.startswith(prefix))))
