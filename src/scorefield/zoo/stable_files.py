"""Where the parts of a Stable Diffusion lie: in the folders of diffusers, or behind the prefixes of one ldm file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from scorefield.nets.clip import ClipConfig, EncoderConfig
from scorefield.nets.kl import KlConfig
from scorefield.nets.unet import UnetConfig
from scorefield.prompt.bpe import END_ID, ClipTokenizer
from scorefield.weights import pickles
from scorefield.weights.detect import detect, detect_pipeline
from scorefield.weights.entries import Entry, under
from scorefield.weights.folder import Json, SourceError
from scorefield.weights.found import Family, Found, Kind, Task
from scorefield.weights.maps import clip, kl, unet
from scorefield.weights.pipeline import given_variant, is_pipeline, read_pipeline
from scorefield.weights.source import Source
from scorefield.zoo.spec import PLAIN, Choice

EMBEDDER, NOISE_AUGMENTOR = "embedder.", "noise_augmentor."  # of unCLIP: zoo/unclip.py reads them
_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
FIRST, SECOND = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."  # of XL
_TRANSFORMERS, _OPENCLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
# What training left in a single file and drawing has no use for. The averaged copy of the U-Net is one: a file that
# has both was published to go on training from, with the weights for that in the usual place.
_EMA = "model_ema.diffusion_model"
_LEFT = ("model_ema.", "first_stage_model.loss.", "cond_stage_model.model.attn_mask", "cond_stage_model.logit_scale")
_TABLES = (
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
_PARTS = {
    "unet",
    "unet_ema",
    "vae",
    "text_encoder",
    "text_encoder_2",
    "image_encoder",
    "image_normalizer",
    "noise_augmentor",
}
_LEVELS: Mapping[str, Json] = {  # those of every model here; a folder that leaves one out means the second
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "trained_betas": None,
}


class NotLoadableError(ValueError):
    """A file or folder that no picture can be drawn with, or not as it is asked; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The networks of a model; `text` has transformers' layout, `openclip` that of Stable Diffusion 2's files.

    `text_2` is XL's second tower, and `eye` the CLIP whose image tower reads an image prompt, for models that read one.
    """

    unet: UnetConfig
    kl: KlConfig
    text: EncoderConfig
    openclip: EncoderConfig | None = None
    eye: ClipConfig | None = None
    text_2: EncoderConfig | None = None


class Place(NamedTuple):
    """Where one network lies: the map of its names, what holds it, and its keys there."""

    entries: Sequence[Entry]
    source: Source
    keys: Iterable[str]


class Parts(NamedTuple):
    """All that a model is made of, not loaded yet."""

    unet: Place
    kl: Place
    text: Place
    encoder: EncoderConfig
    tokenizer: ClipTokenizer


def find(path: Path, variant: str | None = None) -> Found:
    """What lies at `path`; NotLoadableError for a folder of other levels of noise, SourceError for damaged files."""
    if not is_pipeline(path):
        return detect(Source(path, variant).listing)
    pipeline = read_pipeline(path, variant, pickled=pickles.listing)
    _check_levels(path, pipeline.scheduler or {})
    return detect_pipeline(pipeline)


def look(path: Path, *, known: Iterable[Family] | None, variant: str | None = None) -> Found:
    """What lies at `path`; NotLoadableError if it is no whole model of a family in `known`, or for another task."""
    found = find(path, variant)
    if told := refusal(found, known):
        raise NotLoadableError(f"{path} {told}")
    return found


def refusal(found: Found, known: Iterable[Family] | None) -> str | None:
    """What is wrong with a find, in words; None if a picture can be drawn with it."""
    named = found.family if found.family is not Family.UNKNOWN else found.resembles or "of no family that is known"
    if found.kind not in (Kind.CHECKPOINT, Kind.PIPELINE):
        what = f"{found.kind} ({named})" if found.kind is not Kind.UNKNOWN else f"no model that is known; it is {named}"
        return f"is not a whole Stable Diffusion but {what}: `scorefield inspect` tells more"
    stated = found.kind is Kind.PIPELINE and found.family is Family.UNKNOWN and found.facts  # a folder tells its sizes
    if known is not None and found.family not in known and not stated:
        return f"is {named}, with which nothing can be drawn; what can: {', '.join(known)}"
    if found.task not in (Task.TEXT, Task.INPAINTING, Task.VARIATION):
        told = found.task or "another task"
        return f"is {named} for {told}; only those for text to image, inpainting and variation can be drawn with"
    if found.missing:
        return f"lacks its {' and its '.join(found.missing)}; get it whole"
    if extra := found.parts.keys() - _PARTS:
        return f"is {named} with a part that is not known here: {', '.join(sorted(extra))}"
    return None


def _check_levels(path: Path, scheduler: Mapping[str, Json]) -> None:
    for name, value in _LEVELS.items():
        if (stated := scheduler.get(name, value)) != value:
            raise NotLoadableError(f"{path} was trained on other levels of noise: its scheduler has {name} {stated}")


def parts(path: Path, networks: Networks, choice: Choice = PLAIN) -> Parts:
    """The parts of the folder or file at `path`; SourceError for what is missing or not theirs."""
    if not is_pipeline(path):
        found = _file(path, networks, ema=choice.ema)
    elif choice.ema:
        raise NotLoadableError(f"{path} is a folder, whose U-Net is averaged unless its variant is non_ema")
    else:
        found = _folder(path, networks, choice.variant)
    return found if choice.vae is None else found._replace(kl=_other_vae(Path(choice.vae), networks.kl))


def _folder(path: Path, networks: Networks, variant: str | None) -> Parts:
    unet_source, vae, text = (
        Source(path / part, given_variant(path / part, variant)) for part in ("unet", "vae", "text_encoder")
    )
    old = any(key.endswith(".proj_attn.weight") for key in vae.tensors)
    return Parts(
        unet=_whole(
            unet.diffusers(networks.unet, "add_embedding" if networks.text_2 else "class_embedding"), unet_source
        ),
        kl=_whole(kl.diffusers(networks.kl, old=old), vae),
        text=_text(networks.text, text, ""),
        encoder=networks.text,
        tokenizer=tokenizer_of(path / "tokenizer"),
    )


def tokenizer_of(folder: Path) -> ClipTokenizer:
    """The tokenizer in a part's folder; SourceError for one that is missing or damaged."""
    try:
        return ClipTokenizer.from_folder(folder)
    except ValueError as error:
        raise SourceError(str(error).partition("\n")[0]) from None


def _file(path: Path, networks: Networks, *, ema: bool) -> Parts:
    source = Source(path)
    further = (EMBEDDER, NOISE_AUGMENTOR) if networks.eye else (FIRST, SECOND) if networks.text_2 else ()
    for key in source.tensors:
        if not key.startswith((_UNET, _VAE, _TRANSFORMERS, _OPENCLIP, *further, *_LEFT, *_TABLES)):
            raise SourceError(f"{path} holds {key!r}, which is of no part of a Stable Diffusion")
    openclip = any(key.startswith(_OPENCLIP) for key in source.tensors)
    encoder = _openclip(source, networks) if openclip else networks.text
    if encoder is None:
        raise SourceError(f"{path} has Stable Diffusion 2's text tower beside another U-Net")
    words = clip.openai_text(encoder.text, projected=encoder.embed_dim is not None)
    listed = list(under("", _OPENCLIP, words))
    return Parts(
        unet=(_averaged if ema else _behind)(_UNET, unet.ldm(networks.unet), source),
        kl=_behind(_VAE, kl.ldm(networks.kl), source),
        text=placed(listed, source, _OPENCLIP)
        if openclip
        else _text(encoder, source, FIRST if networks.text_2 else _TRANSFORMERS),
        encoder=encoder,
        tokenizer=ClipTokenizer.packaged(pad_id=0 if openclip else END_ID),
    )


def _openclip(source: Source, networks: Networks) -> EncoderConfig | None:
    """The tower as it was published, or the folders' copy of it in a file that was converted from one."""
    whole = networks.openclip
    if whole is None or f"{_OPENCLIP}text_projection" in source.tensors:
        return whole
    return networks.text


def _averaged(prefix: str, entries: Iterator[Entry], source: Source) -> Place:
    """The averaged copy of the network behind `prefix`, whose names have no dots in them."""
    keys = [key for key in source.tensors if key.startswith(_EMA)]
    if not keys:
        raise NotLoadableError(f"{source.listing.path} has no averaged copy of its U-Net (EMA)")
    inner = prefix.removeprefix("model.").replace(".", "")
    copies = [replace(one, theirs=tuple(f"model_ema.{inner}{name.replace('.', '')}" for name in one.theirs))
              for one in entries]  # fmt: skip
    return Place(copies, source, keys)


def _other_vae(path: Path, config: KlConfig) -> Place:
    """The autoencoder of a file or folder of its own, or of a whole model."""
    source = Source(path / "vae" if is_pipeline(path) else path)
    prefix = _VAE if any(key.startswith(_VAE) for key in source.tensors) else ""
    old = any(key.endswith(".proj_attn.weight") for key in source.tensors)
    ldm = f"{prefix}encoder.down.0.block.0.norm1.weight" in source.tensors
    entries = kl.ldm(config) if ldm else kl.diffusers(config, old=old)
    left = (f"{prefix}loss.", "model_ema.")
    keys = [key for key in source.tensors if key.startswith(prefix) and not key.startswith(left)]
    return Place(list(under("", prefix, entries)), source, keys)


def _whole(entries: Iterator[Entry], source: Source) -> Place:
    return Place(list(entries), source, source.tensors)


def _behind(prefix: str, entries: Iterator[Entry], source: Source) -> Place:
    keys = [key for key in source.tensors if key.startswith(prefix) and not key.startswith(_LEFT)]
    return Place(list(under("", prefix, entries)), source, keys)


def _text(encoder: EncoderConfig, source: Source, prefix: str) -> Place:
    """A text tower with transformers' names, which has a level more in most files."""
    level = "text_model."
    inner = level if any(key.startswith(prefix + level) for key in source.tensors) else ""
    entries = clip.transformers_text(encoder.text, projected=encoder.embed_dim is not None, prefix=inner)
    return placed(list(under("", prefix, entries)), source, prefix)


def placed(entries: Sequence[Entry], source: Source, prefix: str) -> Place:
    """The place of a network, without the keys behind `prefix` that some files have and no network needs."""
    keys = [key for key in source.tensors if key.startswith(prefix) and not key.startswith(_LEFT)]
    return Place(entries, source, list(clip.used(entries, keys)))
