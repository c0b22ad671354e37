"""The second text encoder of Stable Diffusion XL."""

from typing import NamedTuple

from scorefield.errors import DamagedError
from scorefield.families.fill import Filling
from scorefield.families.stable_diffusion.parts import Place, placed, tokenizer_of
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.nets.clip import EncoderConfig, TextEncoder
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.checkpoint_layout import XL_TEXT_2
from scorefield.weights.key_map import under
from scorefield.weights.key_maps import clip_keys
from scorefield.weights.model_files import PIPELINE

NUMBERS = 6  # a size, a place and a size, two numbers each


class Second(NamedTuple):
    """The second text encoder, not loaded yet, and its tokenizer; for `blank` see `XlConditioner`."""

    place: Place
    tokenizer: ClipTokenizer
    blank: bool


def second(checkpoint: Checkpoint, config: EncoderConfig) -> Second:
    """The second encoder of the file or folder; DamagedError for what is missing."""
    if not checkpoint.is_folder:
        place = placed(list(under("", XL_TEXT_2, clip_keys.openai_text(config.text))), checkpoint.reader(), XL_TEXT_2)
        return Second(place, ClipTokenizer.packaged(pad_id=0), blank=True)
    return Second(
        placed(list(clip_keys.transformers_text(config.text, projected=True)), checkpoint.reader("text_encoder_2"), ""),
        checkpoint.read("tokenizer_2", tokenizer_of),
        blank=checkpoint.json(PIPELINE).get("force_zeros_for_empty_prompt", True) is True,
    )


def reading(checkpoint: Checkpoint, networks: Networks, first: PublishedConditioner, fill: Filling) -> XlConditioner:
    """`first` joined with the second encoder of the file or folder; DamagedError for what is missing or not theirs."""
    config, pooled = networks.text_2, networks.unet.pooled_width
    if config is None or config.embed_dim is None or pooled is None:
        raise ValueError("networks without a second text encoder, its projection or a U-Net that is given its summary")
    found = second(checkpoint, config)
    encoder = fill(lambda: TextEncoder(config), "second text encoder", *found.place)
    try:
        words = PublishedConditioner(found.tokenizer, encoder)
    except ValueError as error:
        raise DamagedError(f"{checkpoint.path}: {error}") from None
    return XlConditioner(first, words, features=(pooled - config.embed_dim) // NUMBERS, blank=found.blank)
