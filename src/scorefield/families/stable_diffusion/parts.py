"""Where the parts of a Stable Diffusion are: in the folders of diffusers, or behind the prefixes of one ldm file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from scorefield.errors import DamagedError, RequestError, UnsupportedError
from scorefield.families.stable_diffusion.folder_config import check
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.nets.clip import VIT_H_14, ClipConfig, EncoderConfig
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
from scorefield.weights.model_files import PIPELINE, is_diffusers_folder

VISION = f"{IMAGE_ENCODER}model.visual."  # the rest of that CLIP is not read
STATISTICS = (Entry("mean", ("mean",)), Entry("deviation", ("std",)))  # of a folder, and of one file:
STATISTICS_LDM = tuple(under("", f"{NOISE_AUGMENTOR}data_", STATISTICS))


class Weights(NamedTuple):
    """Where the weights of one network are."""

    entries: Sequence[Entry]  # the map between our names and those in the source
    source: Reader
    keys: Iterable[str]  # of the source, those that belong to this network


class SecondEncoder(NamedTuple):
    """XL's second text encoder and its tokenizer; for `blank` see `XlConditioner`."""

    weights: Weights
    tokenizer: ClipTokenizer
    blank: bool


class ImageEncoder(NamedTuple):
    """unCLIP's image encoder, and the statistics of its vectors; None if the files have none and need none."""

    weights: Weights
    statistics: Weights | None


class Parts(NamedTuple):
    """The parts of a model, none loaded yet; `encoder` configures the text encoder of this file."""

    unet: Weights
    kl: Weights
    text: Weights
    encoder: EncoderConfig
    tokenizer: ClipTokenizer
    second: SecondEncoder | None = None
    image: ImageEncoder | None = None


def parts(checkpoint: Checkpoint, networks: Networks, choice: ModelChoice) -> Parts:
    """The parts of the folder or file, with the autoencoder of `choice` in place of its own if there is one.

    DamagedError for files that are missing or hold something else, RequestError for a choice that they lack,
    UnsupportedError for image noise levels other than the published ones.
    """
    vae = None if choice.vae is None else _other_vae(Path(choice.vae), networks.kl)
    if not checkpoint.is_folder:
        found = _file(checkpoint, networks, vae, ema=choice.ema)
    elif choice.ema:
        raise RequestError(f"{checkpoint.path} is a folder, whose U-Net is averaged unless its variant is non_ema")
    else:
        found = _folder(checkpoint, networks, vae)
    if networks.image_clip:
        return found._replace(image=_image(checkpoint, networks.image_clip))
    return found._replace(second=_second(checkpoint, networks.text_2)) if networks.text_2 else found


def _folder(checkpoint: Checkpoint, networks: Networks, vae: Weights | None) -> Parts:
    unet = unet_keys.diffusers(networks.unet, "add_embedding" if networks.text_2 else "class_embedding")
    source = checkpoint.reader("unet")
    return Parts(
        unet=Weights(list(unet), source, source.tensors),
        kl=vae or _vae(networks.kl, checkpoint.reader("vae"), ""),
        text=_text(networks.text, checkpoint.reader("text_encoder"), ""),
        encoder=networks.text,
        tokenizer=checkpoint.read("tokenizer", _tokenizer),
    )


def _tokenizer(folder: Path) -> ClipTokenizer:
    """The tokenizer in a part's folder; DamagedError for one that is missing or damaged."""
    try:
        return ClipTokenizer.from_folder(folder)
    except ValueError as error:
        raise DamagedError(str(error).partition("\n")[0]) from None


def _file(checkpoint: Checkpoint, networks: Networks, vae: Weights | None, *, ema: bool) -> Parts:
    path, source = checkpoint.path, checkpoint.reader()
    openclip = any(key.startswith(OPENCLIP) for key in source.tensors)
    encoder = _openclip(source, networks) if openclip else networks.text
    if encoder is None:
        raise DamagedError(f"{path} has Stable Diffusion 2's text encoder with another model's U-Net")
    if openclip:
        entries = clip_keys.openai_text(encoder.text, projected=encoder.embed_dim is not None)
        text = _behind(OPENCLIP, entries, source)
    else:
        text = _text(encoder, source, XL_TEXT if networks.text_2 else TRANSFORMERS)
    unet = (_averaged if ema else _behind)(UNET, unet_keys.ldm(networks.unet), source)
    kl = vae or _vae(networks.kl, source, VAE)
    further = (IMAGE_ENCODER, NOISE_AUGMENTOR) if networks.image_clip else (XL_TEXT_2,) if networks.text_2 else ()
    used = {*unet.keys, *kl.keys, *text.keys}
    parts_of_its_own = (UNET, *further, *([VAE] if vae else []))
    check_rest(path, [key for key in source.tensors if key not in used and not key.startswith(parts_of_its_own)])
    tokenizer = ClipTokenizer.packaged(pad_id=0 if openclip else END_ID)
    return Parts(unet=unet, kl=kl, text=text, encoder=encoder, tokenizer=tokenizer)


def _openclip(source: Reader, networks: Networks) -> EncoderConfig | None:
    """Stable Diffusion 2's text encoder in one file: as published, or without its last layer, as in folders."""
    whole = networks.openclip
    return whole if whole is None or f"{OPENCLIP}text_projection" in source.tensors else networks.text


def _averaged(prefix: str, entries: Iterator[Entry], source: Reader) -> Weights:
    """The averaged copy of the network behind `prefix`; its names are the network's without the dots."""
    keys = [key for key in source.tensors if key.startswith(EMA)]
    if not keys:
        raise RequestError(f"{source.index.path} has no averaged copy of its U-Net (EMA)")
    inner = prefix.removeprefix("model.").replace(".", "")
    copies = [replace(one, theirs=tuple(f"model_ema.{inner}{name.replace('.', '')}" for name in one.theirs))
              for one in entries]  # fmt: skip
    return Weights(copies, source, keys)


def _other_vae(path: Path, config: KlConfig) -> Weights:
    """The autoencoder at `path`: a file or folder with nothing else, or a whole model."""
    source = Reader(path / "vae" if is_diffusers_folder(path) else path)
    kind = identify_file(source.index).kind
    if kind in (Kind.UNET, Kind.CLIP, Kind.LORA, Kind.EMBEDDING):
        raise UnsupportedError(f"{path} holds no autoencoder: it is a {kind}")
    return _vae(config, source, VAE if any(key.startswith(VAE) for key in source.tensors) else "")


def _vae(config: KlConfig, source: Reader, prefix: str) -> Weights:
    """The autoencoder behind `prefix`, in either layout."""
    return _needed(prefix, kl_keys.stored(config, source.tensors, prefix), source)


def _text(encoder: EncoderConfig, source: Reader, prefix: str) -> Weights:
    """A text encoder with transformers' names, which most files put behind a further `text_model.`."""
    level = "text_model."
    inner = level if any(key.startswith(prefix + level) for key in source.tensors) else ""
    entries = clip_keys.transformers_text(encoder.text, projected=encoder.embed_dim is not None, prefix=inner)
    return _behind(prefix, entries, source)


def _second(checkpoint: Checkpoint, config: EncoderConfig) -> SecondEncoder:
    if not checkpoint.is_folder:
        weights = _behind(XL_TEXT_2, clip_keys.openai_text(config.text), checkpoint.reader())
        return SecondEncoder(weights, ClipTokenizer.packaged(pad_id=0), blank=True)
    entries = clip_keys.transformers_text(config.text, projected=True)
    return SecondEncoder(
        _behind("", entries, checkpoint.reader("text_encoder_2")),
        checkpoint.read("tokenizer_2", _tokenizer),
        blank=checkpoint.json(PIPELINE).get("force_zeros_for_empty_prompt", True) is True,
    )


def _image(checkpoint: Checkpoint, config: ClipConfig) -> ImageEncoder:
    if checkpoint.is_folder:
        part = "image_noising_scheduler"
        check(checkpoint.path, part, checkpoint.json(f"{part}/scheduler_config.json"))
        return ImageEncoder(
            _behind("", clip_keys.transformers_vision(config.vision), checkpoint.reader("image_encoder")),
            _needed("", STATISTICS, checkpoint.reader("image_normalizer")),
        )
    source = checkpoint.reader()
    weights = _behind(VISION, clip_keys.openai_vision(config.vision), source)
    names = [name for entry in STATISTICS_LDM for name in entry.theirs]
    if all(name in source.tensors for name in names):
        return ImageEncoder(weights, Weights(STATISTICS_LDM, source, names))
    if config != VIT_H_14:  # the statistics for ViT-H are 0 and 1, so its files leave them out
        raise DamagedError(
            f"{checkpoint.path} lacks the mean of its CLIP's vectors ({names[0]}); use the folder of the model"
        )
    return ImageEncoder(weights, None)


def _behind(prefix: str, entries: Iterable[Entry], source: Reader) -> Weights:
    """The network of `entries`, whose names in the source all have a `prefix`."""
    return _needed(prefix, list(under("", prefix, entries)), source)


def _needed(prefix: str, entries: Sequence[Entry], source: Reader) -> Weights:
    """A network behind `prefix`, without the keys that some files have and no network needs."""
    return Weights(entries, source, needed_keys(entries, (key for key in source.tensors if key.startswith(prefix))))
