"""What Stable Diffusion XL has besides: a second text tower."""

from pathlib import Path
from typing import NamedTuple

from scorefield.errors import DamagedError
from scorefield.families.fill import Filling
from scorefield.families.stable_diffusion.parts import Networks, Place, placed, tokenizer_of
from scorefield.input_files import read_json
from scorefield.nets.clip import EncoderConfig, TextEncoder
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.weights.checkpoint_layout import XL_TEXT_2
from scorefield.weights.diffusers_folder import is_diffusers_folder
from scorefield.weights.key_map import under
from scorefield.weights.key_maps import clip_keys
from scorefield.weights.locate import PIPELINE, variant_in
from scorefield.weights.reader import Reader

NUMBERS = 6  # a size, a place and a size, two numbers each


class Second(NamedTuple):
    """The second text tower, not loaded yet, and its tokenizer; `blank` is said of the model: see `XlConditioner`."""

    place: Place
    tokenizer: ClipTokenizer
    blank: bool


def second(path: Path, config: EncoderConfig, variant: str | None = None) -> Second:
    """The second tower of the file or folder; DamagedError for what is missing."""
    if not is_diffusers_folder(path):
        place = placed(list(under("", XL_TEXT_2, clip_keys.openai_text(config.text))), Reader(path), XL_TEXT_2)
        return Second(place, ClipTokenizer.packaged(pad_id=0), blank=True)
    source = Reader(path / "text_encoder_2", variant_in(path / "text_encoder_2", variant))
    return Second(
        placed(list(clip_keys.transformers_text(config.text, projected=True)), source, ""),
        tokenizer_of(path / "tokenizer_2"),
        blank=read_json(path / PIPELINE).get("force_zeros_for_empty_prompt", True) is True,
    )


def reading(
    path: Path, networks: Networks, first: PublishedConditioner, fill: Filling, variant: str | None
) -> XlConditioner:
    """`first` beside the second tower of the file or folder; DamagedError for what is missing or not theirs."""
    config, pooled = networks.text_2, networks.unet.pooled_width
    if config is None or config.embed_dim is None or pooled is None:
        raise ValueError("networks without a second text tower, its projection or a U-Net that is given its summary")
    found = second(path, config, variant)
    encoder = fill(lambda: TextEncoder(config), "second text tower", *found.place)
    try:
        words = PublishedConditioner(found.tokenizer, encoder)
    except ValueError as error:
        raise DamagedError(f"{path}: {error}") from None
    return XlConditioner(first, words, features=(pooled - config.embed_dim) // NUMBERS, blank=found.blank)
