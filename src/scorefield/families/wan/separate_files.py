"""A Wan in separate files, as ComfyUI keeps them: which file has which network, and its sizes by its tensors."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from scorefield.errors import DamagedError, MissingError, UnsupportedError
from scorefield.latent.wan_latents import WAN_21, WAN_22, FilmLatents
from scorefield.nets.causal_vae import CausalVaeConfig
from scorefield.nets.clip import VIT_H_14, ClipConfig
from scorefield.nets.umt5 import Umt5Config
from scorefield.nets.video_dit import VideoDitConfig
from scorefield.prompt.sentence_pieces import JSON, SPIECE, Umt5Tokenizer
from scorefield.weights.checkpoint import Reader
from scorefield.weights.detect import film_shapes
from scorefield.weights.detect.identify import identify_file
from scorefield.weights.detect.identity import (
    ClipIdentity,
    Family,
    FilmVaeIdentity,
    Layout,
    TextEncoderIdentity,
    TransformerIdentity,
    described,
)
from scorefield.weights.key_map import Entry, needed_keys, under
from scorefield.weights.key_maps import clip_keys, umt5_keys, wan_keys, wan_vae_keys
from scorefield.weights.model_files import expert_of, is_diffusers_folder

Source = tuple[Sequence[Entry], Reader, Sequence[str]]  # of the weights of a network: their map, and their names

# Known names, those with the most exact numbers first, and ComfyUI's folders for such files.
_VAES = {
    16: ("wan_2.1_vae.safetensors", "Wan2_1_VAE_fp32.safetensors", "Wan2_1_VAE_bf16.safetensors", "Wan2.1_VAE.pth"),
    48: ("wan2.2_vae.safetensors", "Wan2_2_VAE_bf16.safetensors", "Wan2.2_VAE.pth"),
}
_TEXTS = (
    "umt5_xxl_fp16.safetensors", "umt5_xxl.safetensors", "umt5-xxl-enc-bf16.safetensors",
    "models_t5_umt5-xxl-enc-bf16.pth", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "umt5-xxl-enc-fp8_e4m3fn.safetensors",
)  # fmt: skip
_IMAGES = (
    "clip_vision_h.safetensors", "open-clip-xlm-roberta-large-vit-huge-14_visual_fp16.safetensors",
    "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
)  # fmt: skip
_TRANSFORMER_FOLDERS = ("diffusion_models", "unet")
_VAE_FOLDERS, _TEXT_FOLDERS, _IMAGE_FOLDERS = ("vae",), ("text_encoders", "clip"), ("clip_vision",)
_TOKENIZERS = ("google/umt5-xxl", "umt5-xxl", "tokenizer", ".")  # folders next to a text encoder
LATENTS = {len(one.mean): one for one in (WAN_21, WAN_22)}  # by channels
IMAGE_CLIP = VIT_H_14  # of every Wan that reads an image encoder
_MASK = 4  # channels: which frames of a latent are given
HEAD = 128  # the width of a head in every Wan
_MOST_BLOCKS = 1000
_LARGEST_TOKENIZER = 64 << 20  # bytes


def transformer_config(path: Path, found: TransformerIdentity) -> VideoDitConfig:
    """The sizes of a transformer; UnsupportedError for one that no film can be drawn with."""
    if found.width % HEAD or found.depth > _MOST_BLOCKS:
        raise UnsupportedError(f"{path}: {found.depth} blocks of width {found.width} are not those of a Wan")
    if found.in_channels - found.out_channels not in (0, _MASK + found.out_channels):
        raise UnsupportedError(
            f"{path} reads {found.in_channels} channels; a Wan reads {found.out_channels}, or with a picture "
            f"{2 * found.out_channels + _MASK}"
        )
    if found.image_width not in (None, IMAGE_CLIP.vision.width):
        raise UnsupportedError(f"{path} reads an image encoder of width {found.image_width}, which no Wan has")
    return VideoDitConfig(
        in_channels=found.in_channels,
        out_channels=found.out_channels,
        patch_size=found.patch_size,
        width=found.width,
        mlp_width=found.mlp_width,
        depth=found.depth,
        heads=found.width // HEAD,
        text_width=found.text_width,
        time_features=found.time_features,
        image_width=found.image_width,
        image_positions=found.image_positions,
        like="original" if found.layout is Layout.WAN else "diffusers",
    )


def transformer(reader: Reader, config: VideoDitConfig) -> Source:
    """The weights of a transformer of these sizes; UnsupportedError for a file that is none."""
    found = identify_file(reader.index)
    if not isinstance(found, TransformerIdentity):
        raise UnsupportedError(f"{reader.index.path} is {described(found)}, not a video transformer of Wan")
    entries = wan_keys.original(config) if found.layout is Layout.WAN else wan_keys.diffusers(config)
    return [*under("", found.prefix, entries)], reader, [*reader.tensors]


def vae(reader: Reader) -> tuple[CausalVaeConfig, FilmLatents, Source]:
    """The autoencoder of a file; UnsupportedError for one that is not of Wan."""
    found = identify_file(reader.index)
    if not isinstance(found, FilmVaeIdentity) or found.channels not in LATENTS:
        raise UnsupportedError(f"{reader.index.path} is {described(found)}, not an autoencoder of Wan")
    config = CausalVaeConfig(
        channels=found.channels,
        width=found.width,
        decoder_width=found.decoder_width,
        multipliers=found.multipliers,
        resblocks=found.resblocks,
        halves_time=found.halves_time,
        patch_size=found.patch_size,
        shortcuts=found.patch_size > 1,  # of Wan 2.2, which has both
    )
    entries = wan_vae_keys.original(config) if found.layout is Layout.WAN else wan_vae_keys.diffusers(config)
    return config, LATENTS[found.channels], ([*entries], reader, [*reader.tensors])


def text_encoder(reader: Reader) -> tuple[Umt5Config, Source]:
    """The text encoder of a file; UnsupportedError for one that is not UMT5."""
    found = identify_file(reader.index)
    if not isinstance(found, TextEncoderIdentity) or found.family is not Family.UMT5:
        raise UnsupportedError(
            f"{reader.index.path} is {described(found)}, not UMT5, the text encoder of Wan; take {_TEXTS[0]}"
        )
    config = Umt5Config(
        vocab_size=found.vocab_size,
        width=found.width,
        layers=found.layers,
        heads=found.heads,
        head_width=found.head_width,
        mlp_width=found.mlp_width,
    )
    return config, (umt5_keys.stored(config, reader.tensors), reader, umt5_keys.needed(reader.tensors))


def image_encoder(reader: Reader, config: ClipConfig) -> Source:
    """The weights of an image encoder in a file; UnsupportedError for one of other sizes than those of `config`."""
    found, sizes = identify_file(reader.index), config.vision
    stored = found.image if isinstance(found, ClipIdentity) else None
    if clip_keys.WAN_CLASS_TOKEN not in reader.tensors and (
        stored is None or (stored.layers, stored.width, stored.patch) != (sizes.layers, sizes.width, sizes.patch_size)
    ):
        raise UnsupportedError(
            f"{reader.index.path} is {described(found)}, not {Family.VIT_H_14}, the image encoder of Wan; "
            f"take {_IMAGES[0]}"
        )
    return image_weights(config, reader)


def image_weights(config: ClipConfig, reader: Reader) -> Source:
    """The weights of an image encoder, in either layout."""
    entries = clip_keys.stored_vision(config.vision, reader.tensors)
    return entries, reader, needed_keys(entries, clip_keys.needed_vision(reader.tensors))


def has_tokenizer(reader: Reader) -> bool:
    """Whether a text encoder's file has a tokenizer."""
    return film_shapes.SPIECE in reader.tensors


def tokenizer(reader: Reader) -> Umt5Tokenizer:
    """The tokenizer in a text encoder's file, else in a folder next to it; MissingError if there is none."""
    path = reader.index.path
    if has_tokenizer(reader):
        stored = reader.tensors[film_shapes.SPIECE]
        if len(stored.shape) != 1 or stored.dtype not in ("U8", "uint8") or stored.numbers > _LARGEST_TOKENIZER:
            raise DamagedError(f"{path}: its tokenizer ({film_shapes.SPIECE}) is damaged; get it again")
        return Umt5Tokenizer.from_sentencepiece(reader.fetch(film_shapes.SPIECE).numpy().tobytes(), path)
    near = path if path.is_dir() else path.parent
    for one in (*(near / name for name in _TOKENIZERS), near.parent / "tokenizer"):
        if any((one / name).is_file() for name in (JSON, SPIECE)):
            return Umt5Tokenizer.from_folder(one)
    raise MissingError(
        f"{path} has no tokenizer in it, and {near} no folder google/umt5-xxl; take {_TEXTS[0]} of ComfyUI, which has "
        "one, or get the folder google/umt5-xxl of Wan-AI/Wan2.1-T2V-1.3B"
    )


def experts(path: Path) -> list[Path]:
    """The files of both transformers of a Wan 2.2, of which `path` is one, or `path` alone.

    "high" or "low" in a name says which it is. MissingError for a high-noise or low-noise file without the other.
    """
    named = expert_of(path.name)
    if named is None:
        return [path]
    noise, beside = named[0], path.with_name(named[1])
    if beside.is_file():
        return [path, beside] if noise == "high" else [beside, path]
    if "noise" in path.name.lower():
        raise MissingError(
            f"{path} is one of two transformers of a Wan 2.2; the other, {beside.name}, is not beside it"
        )
    return [path]


def find_vae(path: Path, channels: int) -> Path:
    """The autoencoder that belongs to a transformer's file, by its known names; MissingError if there is none."""
    return _find(path, _VAES.get(channels, _VAES[16]), _VAE_FOLDERS, "autoencoder", "--vae")


def find_text_encoder(path: Path) -> Path:
    """The text encoder that belongs to a transformer's file, by its known names; MissingError if there is none."""
    return _find(path, _TEXTS, _TEXT_FOLDERS, "text encoder", "--text-encoder")


def find_image_encoder(path: Path) -> Path:
    """The image encoder that belongs to a transformer's file, by its known names; MissingError if there is none."""
    return _find(path, _IMAGES, _IMAGE_FOLDERS, "image encoder", "--image-encoder")


def part_of(path: Path, part: str) -> Path:
    """Where a path has a network: in the folder `part` of a pipeline of diffusers, else there itself."""
    return path / part if is_diffusers_folder(path) else path


def _find(path: Path, names: Sequence[str], folders: Sequence[str], what: str, flag: str) -> Path:
    places = list(dict.fromkeys(_places(path, folders)))
    for place in places:
        for name in names:
            if (place / name).is_file():
                return place / name
    raise MissingError(
        f"{path} is the video transformer of a Wan alone, and its {what} was not found: give it with {flag}, or put "
        f"{' or '.join(names)} into {' or '.join(map(str, places))}"
    )


def _places(path: Path, folders: Sequence[str]) -> Iterator[Path]:
    """The folders where the networks of a transformer's file may be: its own, and ComfyUI's."""
    yield path.parent
    above = next((one for one in path.absolute().parents if one.name in _TRANSFORMER_FOLDERS), None)
    if above is not None:
        for folder in folders:
            yield above.parent / folder
