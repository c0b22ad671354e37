"""CLIP in the layouts of OpenAI's, OpenCLIP's and Wan's files and of transformers' folders."""

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from scorefield.weights.key_map import Entry, Form, same, under


class EncoderSizes(Protocol):
    """The settings of an encoder that its map depends on."""

    @property
    def layers(self) -> int: ...


class Sizes(Protocol):
    """The settings of a whole CLIP that its map depends on."""

    @property
    def vision(self) -> EncoderSizes: ...
    @property
    def text(self) -> EncoderSizes: ...


_OPENAI_BLOCK = (
    Entry("attention.qkv.weight", ("attn.in_proj_weight",)), Entry("attention.qkv.bias", ("attn.in_proj_bias",)),
    *same("attention.out", "attn.out_proj"), *same("norm1", "ln_1"), *same("norm2", "ln_2"),
    *same("fc1", "mlp.c_fc"), *same("fc2", "mlp.c_proj"),
)  # fmt: skip
_TRANSFORMERS_BLOCK = (
    *(Entry(f"attention.qkv.{leaf}", tuple(f"self_attn.{part}_proj.{leaf}" for part in "qkv"))
      for leaf in ("weight", "bias")),
    *same("attention.out", "self_attn.out_proj"), *same("norm1", "layer_norm1"), *same("norm2", "layer_norm2"),
    *same("fc1", "mlp.fc1"), *same("fc2", "mlp.fc2"),
)  # fmt: skip
_WAN_BLOCK = (
    *same("attention.qkv", "attn.to_qkv"), *same("attention.out", "attn.proj"), *same("norm1", "norm1"),
    *same("norm2", "norm2"), *same("fc1", "mlp.0"), *same("fc2", "mlp.2"),
)  # fmt: skip
_WAN, _WAN_UNREAD = "visual.", "visual.head"
WAN_CLASS_TOKEN = "visual.cls_embedding"  # a key of its layout alone
_PROJECTION = "visual_projection.weight"


def openai(config: Sizes) -> Iterator[Entry]:
    """A whole CLIP in OpenAI's layout, which OpenCLIP has too: the text's keys are at the top."""
    yield Entry("logit_scale", ("logit_scale",))
    yield from under("vision.", "visual.", openai_vision(config.vision))
    yield from under("text.", "", openai_text(config.text))


def openai_vision(config: EncoderSizes) -> Iterator[Entry]:
    """The image encoder without the prefix `visual.`."""
    yield Entry("patch.weight", ("conv1.weight",))
    yield Entry("class_token", ("class_embedding",))
    yield Entry("positions", ("positional_embedding",))
    yield Entry("projection.weight", ("proj",), Form.TRANSPOSED)
    yield from (*same("norm_pre", "ln_pre"), *same("norm_post", "ln_post"))
    yield from _blocks(config, "transformer.resblocks", _OPENAI_BLOCK)


def openai_text(config: EncoderSizes, *, projected: bool = True) -> Iterator[Entry]:
    """The text encoder; Stable Diffusion 2's single files have it behind `cond_stage_model.model.`.

    Files that were converted from a folder are not `projected`.
    """
    yield Entry("tokens.weight", ("token_embedding.weight",))
    yield Entry("positions", ("positional_embedding",))
    if projected:
        yield Entry("projection.weight", ("text_projection",), Form.TRANSPOSED)
    yield from same("norm", "ln_final")
    yield from _blocks(config, "transformer.resblocks", _OPENAI_BLOCK)


def transformers(config: Sizes) -> Iterator[Entry]:
    """A whole CLIP as transformers' CLIPModel."""
    yield Entry("logit_scale", ("logit_scale",))
    yield from under("vision.", "", transformers_vision(config.vision))
    yield from under("text.", "", transformers_text(config.text, projected=True))


def transformers_vision(
    config: EncoderSizes, *, projected: bool = True, prefix: str = "vision_model."
) -> Iterator[Entry]:
    """The image encoder as CLIPVisionModelWithProjection, or as CLIPVisionModel unless it is `projected`.

    A CLIPVisionModel of transformers 5 writes files without the `prefix`.
    """
    if projected:
        yield Entry("projection.weight", (_PROJECTION,))
    yield Entry("patch.weight", (f"{prefix}embeddings.patch_embedding.weight",))
    yield Entry("class_token", (f"{prefix}embeddings.class_embedding",))
    yield Entry("positions", (f"{prefix}embeddings.position_embedding.weight",))
    yield from same("norm_pre", f"{prefix}pre_layrnorm")  # published so
    yield from same("norm_post", f"{prefix}post_layernorm")
    yield from _blocks(config, f"{prefix}encoder.layers", _TRANSFORMERS_BLOCK)


def wan_vision(config: EncoderSizes) -> Iterator[Entry]:
    """The image encoder, not projected, in Wan's file, which holds a text encoder besides."""
    yield Entry("patch.weight", (f"{_WAN}patch_embedding.weight",))
    yield Entry("class_token", (WAN_CLASS_TOKEN,), Form.SAMPLE)
    yield Entry("positions", (f"{_WAN}pos_embedding",), Form.SAMPLE)
    yield from (*same("norm_pre", f"{_WAN}pre_norm"), *same("norm_post", f"{_WAN}post_norm"))
    yield from _blocks(config, f"{_WAN}transformer", _WAN_BLOCK)


def stored_vision(config: EncoderSizes, keys: Collection[str]) -> list[Entry]:
    """The entries of an image encoder, not projected, in a file with these `keys`: Wan's or transformers' layout."""
    if WAN_CLASS_TOKEN in keys:
        return list(wan_vision(config))
    prefix = "vision_model." if any(key.startswith("vision_model.") for key in keys) else ""
    return list(transformers_vision(config, projected=False, prefix=prefix))


def needed_vision(keys: Collection[str]) -> list[str]:
    """Of a file's `keys`, those of the image encoder without its projection."""
    if WAN_CLASS_TOKEN in keys:
        return [key for key in keys if key.startswith(_WAN) and key != _WAN_UNREAD]
    return [key for key in keys if key != _PROJECTION]


def transformers_text(config: EncoderSizes, *, projected: bool, prefix: str = "text_model.") -> Iterator[Entry]:
    """The text encoder as CLIPTextModel, or as CLIPTextModelWithProjection if `projected`.

    A CLIPTextModel of transformers 5 has no `prefix` in memory; files of both kinds exist.
    """
    if projected:
        yield Entry("projection.weight", ("text_projection.weight",))
    yield Entry("tokens.weight", (f"{prefix}embeddings.token_embedding.weight",))
    yield Entry("positions", (f"{prefix}embeddings.position_embedding.weight",))
    yield from same("norm", f"{prefix}final_layer_norm")
    yield from _blocks(config, f"{prefix}encoder.layers", _TRANSFORMERS_BLOCK)


def _blocks(config: EncoderSizes, theirs: str, block: Sequence[Entry]) -> Iterator[Entry]:
    for index in range(config.layers):
        yield from under(f"blocks.{index}.", f"{theirs}.{index}.", block)
