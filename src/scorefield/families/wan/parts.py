"""The networks of a Wan in the files that people have: the original folder, that of diffusers, and separate files."""

from dataclasses import dataclass, replace
from pathlib import Path

from scorefield.errors import MissingError, RequestError, UnsupportedError
from scorefield.families.wan import configs, separate_files
from scorefield.families.wan.separate_files import Source
from scorefield.families.wan.specs import WAN22_I2V, WAN22_T2V, Networks
from scorefield.prompt.sentence_pieces import Umt5Tokenizer
from scorefield.request import ModelChoice
from scorefield.weights.checkpoint import Checkpoint, Reader
from scorefield.weights.detect.identity import TransformerIdentity
from scorefield.weights.key_map import Entry, needed_keys
from scorefield.weights.key_maps import umt5_keys, wan_keys, wan_vae_keys

# Files of the original folder besides its transformers and its autoencoder.
TEXT, TOKENIZER = "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl"
_IMAGE = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Where the weights of all networks are, and their sizes."""

    choice: ModelChoice  # with the files that were found
    networks: Networks
    transformers: list[Source]
    vae: Source
    text: Source
    image: Source | None
    tokenizer: Umt5Tokenizer


def separate(checkpoint: Checkpoint) -> Networks | None:
    """The networks of a transformer's file, as far as it shows them; None for another file or folder."""
    path = checkpoint.path
    if not path.is_file() or not isinstance(found := checkpoint.identity, TransformerIdentity):
        return None
    config, two = separate_files.transformer_config(path, found), len(separate_files.experts(path)) == 2
    pictured = config.in_channels != config.out_channels
    if pictured and not two and config.image_width is None:
        raise UnsupportedError(
            f"{path} draws films from pictures without an image encoder: as one of two transformers of a Wan 2.2 it "
            "needs the other beside it, with low for high in its name; other such models are not supported"
        )
    return Networks(
        transformer=config,
        boundary=(WAN22_I2V if pictured else WAN22_T2V).boundary if two else None,
        image_clip=None if config.image_width is None else separate_files.IMAGE_CLIP,
    )


def gather(checkpoint: Checkpoint, networks: Networks, choice: ModelChoice) -> Parts:
    """The parts of a Wan whose transformer is that of `networks`; a choice may give another vae and text encoder.

    A folder of diffusers states the sizes of its parts; those of others are read from their tensors. Errors for files
    that are missing, that are something else, or that belong to different models.
    """
    path, original = checkpoint.path, checkpoint.path.is_dir() and not checkpoint.is_folder
    if path.is_file():
        choice = _completed(path, networks, choice)
    given = {
        "vae": _given(path, choice.vae, "vae", configs.vae_of(path) if original else None),
        "text_encoder": _given(path, choice.text_encoder, "text_encoder", TEXT if original else None),
        "image_encoder": _given(
            path, choice.image_encoder, "image_encoder", _IMAGE if original and networks.image_clip else None
        ),
    }
    if choice.image_encoder and networks.image_clip is None:
        raise RequestError(f"image_encoder: {path} reads no image encoder", option="image_encoder")
    if given["vae"] is not None:
        config, latents, vae = separate_files.vae(checkpoint.other(given["vae"]))
        networks = replace(networks, vae=config, latents=latents)
    else:
        reader = checkpoint.reader("vae")
        vae = ([*wan_vae_keys.diffusers(networks.vae)], reader, [*reader.tensors])
    if given["text_encoder"] is not None:
        encoder, text = separate_files.text_encoder(checkpoint.other(given["text_encoder"]))
        networks = replace(networks, text=encoder)
    else:
        reader = checkpoint.reader("text_encoder")
        text = (umt5_keys.stored(networks.text, reader.tensors), reader, umt5_keys.needed(reader.tensors))
    image = None
    if networks.image_clip is not None and given["image_encoder"] is not None:
        image = separate_files.image_encoder(checkpoint.other(given["image_encoder"]), networks.image_clip)
    elif networks.image_clip is not None:
        image = separate_files.image_weights(networks.image_clip, checkpoint.reader("image_encoder"))
    _check(path, networks, vae, text)
    return Parts(
        choice=choice,
        networks=networks,
        transformers=_transformers(checkpoint, networks),
        vae=vae,
        text=text,
        image=image,
        tokenizer=_tokenizer(checkpoint, text[1]),
    )


def _tokenizer(checkpoint: Checkpoint, text: Reader) -> Umt5Tokenizer:
    if checkpoint.path.is_file() or separate_files.has_tokenizer(text):
        return separate_files.tokenizer(text)
    return checkpoint.read("tokenizer" if checkpoint.is_folder else TOKENIZER, Umt5Tokenizer.from_folder)


def _completed(path: Path, networks: Networks, choice: ModelChoice) -> ModelChoice:
    """The choice with the files that it leaves out, found near the transformer's."""
    vae = choice.vae or str(separate_files.find_vae(path, networks.transformer.out_channels))
    text = choice.text_encoder or str(separate_files.find_text_encoder(path))
    image = choice.image_encoder
    if image is None and networks.image_clip is not None:
        image = str(separate_files.find_image_encoder(path))
    return choice.model_copy(update={"vae": vae, "text_encoder": text, "image_encoder": image})


def _given(path: Path, chosen: str | None, part: str, own: str | None) -> Path | None:
    """The file of a part: the chosen one, or a folder's `own`; None for that of a folder of diffusers."""
    if chosen is not None:
        return separate_files.part_of(Path(chosen), part)
    return None if own is None else _file(path, own)


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise MissingError(f"{folder} lacks {name}; get the whole folder of Wan")
    return folder / name


def _check(path: Path, networks: Networks, vae: Source, text: Source) -> None:
    """UnsupportedError unless the parts belong to one model."""
    transformer = networks.transformer
    for part, (_, reader, _), has, reads in (
        ("makes latents of {} channels", vae, networks.vae.channels, transformer.out_channels),
        ("gives tokens of width {}", text, networks.text.width, transformer.text_width),
    ):
        if has != reads:
            raise UnsupportedError(
                f"{reader.index.path} {part.format(has)}, and the transformer of {path} reads {reads}: they belong to "
                "different models"
            )


def _transformers(checkpoint: Checkpoint, networks: Networks) -> list[Source]:
    path, count, config = checkpoint.path, 1 if networks.boundary is None else 2, networks.transformer
    if path.is_file():
        files = separate_files.experts(path)
        return [
            separate_files.transformer(checkpoint.reader() if one == path else checkpoint.other(one), config)
            for one in files
        ]
    if checkpoint.is_folder:
        entries: list[Entry] = [*wan_keys.diffusers(config)]
        readers = [checkpoint.reader(part) for part in configs.EXPERTS[:count]]
    else:
        entries = [*wan_keys.original(config)]
        readers = [checkpoint.other(path / name) for name in (configs.ORIGINAL_EXPERTS if count == 2 else ("",))]
    return [(entries, one, needed_keys(entries, one.tensors)) for one in readers]
