"""Latent diffusion's U-Net in the layouts of ldm's single files and of diffusers' folders."""

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

from scorefield.weights.key_map import Entry, Form, Table, named, same, under


class Unet(Protocol):
    """The settings of a U-Net that its map depends on."""

    @property
    def multipliers(self) -> tuple[int, ...]: ...
    @property
    def resblocks(self) -> int: ...
    @property
    def depths(self) -> tuple[int, ...]: ...
    @property
    def middle_depth(self) -> int: ...
    @property
    def linear_projections(self) -> bool: ...
    @property
    def pooled_width(self) -> int | None: ...


_LDM, _DIFFUSERS = 0, 1  # columns of the tables
_ENDS: Table = {
    "time.0": ("time_embed.0", "time_embedding.linear_1"),
    "time.2": ("time_embed.2", "time_embedding.linear_2"),
    "pooled.0": ("label_emb.0.0", "{pooled}.linear_1"),
    "pooled.2": ("label_emb.0.2", "{pooled}.linear_2"),
    "first": ("input_blocks.0.0", "conv_in"),
    "last_norm": ("out.0", "conv_norm_out"),
    "last": ("out.2", "conv_out"),
}
# `level` counts from the finest, `turn` from the coarsest, `k` within a level. ldm has one row of blocks down and one
# up, in which `n` counts; the upsampling is the `last` part of a block.
_STAGES: Table = {
    "down.{level}.stages.{k}.residual": ("input_blocks.{n}.0", "down_blocks.{level}.resnets.{k}"),
    "down.{level}.stages.{k}.transformer": ("input_blocks.{n}.1", "down_blocks.{level}.attentions.{k}"),
    "down.{level}.shrink": ("input_blocks.{n}.0.op", "down_blocks.{level}.downsamplers.0.conv"),
    "middle.0.residual": ("middle_block.0", "mid_block.resnets.0"),
    "middle.0.transformer": ("middle_block.1", "mid_block.attentions.0"),
    "middle.1.residual": ("middle_block.2", "mid_block.resnets.1"),
    "up.{turn}.stages.{k}.residual": ("output_blocks.{n}.0", "up_blocks.{turn}.resnets.{k}"),
    "up.{turn}.stages.{k}.transformer": ("output_blocks.{n}.1", "up_blocks.{turn}.attentions.{k}"),
    "up.{turn}.grow.conv": ("output_blocks.{n}.{last}.conv", "up_blocks.{turn}.upsamplers.0.conv"),
}
_RESIDUAL: Table = {
    "norm1": ("in_layers.0", "norm1"),
    "conv1": ("in_layers.2", "conv1"),
    "time": ("emb_layers.1", "time_emb_proj"),
    "norm2": ("out_layers.0", "norm2"),
    "conv2": ("out_layers.3", "conv2"),
    "skip": ("skip_connection", "conv_shortcut"),
}
_TRANSFORMER_BLOCK = (  # which both layouts name alike
    *same("norm1", "norm1"), *same("norm2", "norm2"), *same("norm3", "norm3"),
    Entry("self_attention.qkv.weight", tuple(f"attn1.to_{part}.weight" for part in "qkv")),
    *same("self_attention.out", "attn1.to_out.0"), *same("cross_attention.q", "attn2.to_q", ("weight",)),
    Entry("cross_attention.kv.weight", ("attn2.to_k.weight", "attn2.to_v.weight")),
    *same("cross_attention.out", "attn2.to_out.0"), *same("mlp.fc1", "ff.net.0.proj"), *same("mlp.fc2", "ff.net.2"),
)  # fmt: skip


def ldm(config: Unet) -> Iterator[Entry]:
    """The entries in ldm's layout, without the prefix `model.diffusion_model.` that its single files have."""
    return _unet(config, _LDM)


def diffusers(config: Unet, pooled: Literal["class_embedding", "add_embedding"] = "class_embedding") -> Iterator[Entry]:
    """The entries in diffusers' layout; `pooled` is its name of the vector's layers, `add_embedding` for SDXL."""
    return _unet(config, _DIFFUSERS, pooled)


def _unet(config: Unet, layout: int, pooled: str = "") -> Iterator[Entry]:
    for ours in _ENDS:
        if config.pooled_width is not None or not ours.startswith("pooled"):
            yield from same(*named(_ENDS, layout, ours, pooled=pooled))
    row, before, coarsest = config.resblocks + 1, 1, len(config.depths) - 1
    for level, (depth, multiplier) in enumerate(zip(config.depths, config.multipliers, strict=True)):
        for k in range(config.resblocks):
            at = {"level": level, "k": k, "n": level * row + k + 1}
            yield from _stage(config, layout, "down.{level}.stages.{k}", at, depth, skip=multiplier != before)
            before = multiplier
        if level < coarsest:
            yield from same(*named(_STAGES, layout, "down.{level}.shrink", level=level, n=(level + 1) * row))
    yield from _stage(config, layout, "middle.0", {}, config.middle_depth, skip=False)
    yield from _stage(config, layout, "middle.1", {}, 0, skip=False)
    for turn, depth in enumerate(reversed(config.depths)):
        for k in range(row):
            at = {"turn": turn, "k": k, "n": turn * row + k}
            yield from _stage(config, layout, "up.{turn}.stages.{k}", at, depth, skip=True)
        if turn < coarsest:
            at = {"turn": turn, "n": (turn + 1) * row - 1, "last": 2 if depth else 1}
            yield from same(*named(_STAGES, layout, "up.{turn}.grow.conv", **at))


def _stage(config: Unet, layout: int, stage: str, at: Mapping[str, int], depth: int, *, skip: bool) -> Iterator[Entry]:
    """A residual block, with a `skip` if it changes the width, and a transformer of `depth` blocks if that is not 0."""
    ours, theirs = named(_STAGES, layout, f"{stage}.residual", **at)
    for layer, names in _RESIDUAL.items():
        if skip or layer != "skip":
            yield from same(f"{ours}.{layer}", f"{theirs}.{names[layout]}")
    if depth:
        ours, theirs = named(_STAGES, layout, f"{stage}.transformer", **at)
        yield from under(f"{ours}.", f"{theirs}.", _transformer(depth, config.linear_projections))


def _transformer(depth: int, linear_projections: bool) -> Iterator[Entry]:
    projection = Form.SAME if linear_projections else Form.CONVOLUTION
    yield from same("norm", "norm")
    yield from same("project_in", "proj_in", form=projection)
    for k in range(depth):
        yield from under(f"blocks.{k}.", f"transformer_blocks.{k}.", _TRANSFORMER_BLOCK)
    yield from same("project_out", "proj_out", form=projection)
