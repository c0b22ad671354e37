"""CLIP in the layouts of OpenAI's and OpenCLIP's files and of transformers' folders: whole, and each tower alone."""

from collections.abc import Iterator
from typing import Protocol

from scorefield.weights.key_map import Entry, Form, same, under


class Tower(Protocol):
    """What a map must know of a tower's config."""

    @property
    def layers(self) -> int: ...


class Towers(Protocol):
    """What a map must know of a whole CLIP's config."""

    @property
    def vision(self) -> Tower: ...
    @property
    def text(self) -> Tower: ...


def openai(config: Towers) -> Iterator[Entry]:
    """A whole CLIP in OpenAI's layout, which OpenCLIP has too: the text's keys are at the top."""
    yield Entry("logit_scale", ("logit_scale",))
    yield from under("vision.", "visual.", openai_vision(config.vision))
    yield from under("text.", "", openai_text(config.text))


def openai_vision(config: Tower) -> Iterator[Entry]:
    """The image tower without the prefix `visual.`."""
    yield Entry("patch.weight", ("conv1.weight",))
    yield Entry("class_token", ("class_embedding",))
    yield Entry("positions", ("positional_embedding",))
    yield Entry("projection.weight", ("proj",), Form.TRANSPOSED)
    yield from same("norm_pre", "ln_pre")
    yield from same("norm_post", "ln_post")
    yield from _openai_blocks(config.layers)


def openai_text(config: Tower, *, projected: bool = True) -> Iterator[Entry]:
    """The text tower; Stable Diffusion 2's single files have it behind `cond_stage_model.model.`.

    Files that were converted from a folder are not `projected`.
    """
    yield Entry("tokens.weight", ("token_embedding.weight",))
    yield Entry("positions", ("positional_embedding",))
    if projected:
        yield Entry("projection.weight", ("text_projection",), Form.TRANSPOSED)
    yield from same("norm", "ln_final")
    yield from _openai_blocks(config.layers)


def _openai_blocks(layers: int) -> Iterator[Entry]:
    for index in range(layers):
        yield from under(f"blocks.{index}.", f"transformer.resblocks.{index}.", _openai_block())


def _openai_block() -> Iterator[Entry]:
    yield Entry("attention.qkv.weight", ("attn.in_proj_weight",))
    yield Entry("attention.qkv.bias", ("attn.in_proj_bias",))
    yield from same("attention.out", "attn.out_proj")
    yield from same("norm1", "ln_1")
    yield from same("norm2", "ln_2")
    yield from same("fc1", "mlp.c_fc")
    yield from same("fc2", "mlp.c_proj")


def transformers(config: Towers) -> Iterator[Entry]:
    """A whole CLIP as transformers' CLIPModel."""
    yield Entry("logit_scale", ("logit_scale",))
    yield from under("vision.", "", transformers_vision(config.vision))
    yield from under("text.", "", transformers_text(config.text, projected=True))


def transformers_vision(config: Tower) -> Iterator[Entry]:
    """The image tower as CLIPVisionModelWithProjection."""
    yield Entry("projection.weight", ("visual_projection.weight",))
    yield from under("", "vision_model.", _transformers_vision(config.layers))


def _transformers_vision(layers: int) -> Iterator[Entry]:
    yield Entry("patch.weight", ("embeddings.patch_embedding.weight",))
    yield Entry("class_token", ("embeddings.class_embedding",))
    yield Entry("positions", ("embeddings.position_embedding.weight",))
    yield from same("norm_pre", "pre_layrnorm")  # published so
    yield from same("norm_post", "post_layernorm")
    yield from _transformers_blocks(layers)


def transformers_text(config: Tower, *, projected: bool, prefix: str = "text_model.") -> Iterator[Entry]:
    """The text tower as CLIPTextModel, or as CLIPTextModelWithProjection where it is `projected`.

    A CLIPTextModel of transformers 5 has no `prefix` in memory; files of either kind are about.
    """
    if projected:
        yield Entry("projection.weight", ("text_projection.weight",))
    yield from under("", prefix, _transformers_text(config.layers))


def _transformers_text(layers: int) -> Iterator[Entry]:
    yield Entry("tokens.weight", ("embeddings.token_embedding.weight",))
    yield Entry("positions", ("embeddings.position_embedding.weight",))
    yield from same("norm", "final_layer_norm")
    yield from _transformers_blocks(layers)


def _transformers_blocks(layers: int) -> Iterator[Entry]:
    for index in range(layers):
        yield from under(f"blocks.{index}.", f"encoder.layers.{index}.", _transformers_block())


def _transformers_block() -> Iterator[Entry]:
    for leaf in ("weight", "bias"):
        yield Entry(f"attention.qkv.{leaf}", tuple(f"self_attn.{part}_proj.{leaf}" for part in "qkv"), Form.STACKED)
    yield from same("attention.out", "self_attn.out_proj")
    yield from same("norm1", "layer_norm1")
    yield from same("norm2", "layer_norm2")
    yield from same("fc1", "mlp.fc1")
    yield from same("fc2", "mlp.fc2")
