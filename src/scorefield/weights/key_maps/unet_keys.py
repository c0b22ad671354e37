"""Latent diffusion's U-Net in the layouts of ldm's single files and of diffusers' folders."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from scorefield.weights.key_map import Entry, Form, same, under

ENDS = ("time.0", "time.2", "first", "last_norm", "last")  # our layers before and behind the stages
RESIDUAL = ("norm1", "conv1", "time", "norm2", "conv2", "skip")  # our layers of a residual block


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


Place = tuple[str, str]  # of a stage's residual block, and of its transformer


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a file has the layers; `level` counts from the finest, `turn` from the coarsest, `k` within a level.

    ldm has one row of blocks down and one up, in which `n` counts. The last block of a level has the upsampling as its
    `last` part, behind the residual block and the transformer, if there is one.
    """

    ends: tuple[str, ...]  # as ENDS
    pooled: tuple[str, str]
    residual: tuple[str, ...]  # as RESIDUAL
    down: Place
    shrink: str
    middle: tuple[Place, Place]
    up: Place
    grow: str


LDM = Layout(
    ends=("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2"),
    pooled=("label_emb.0.0", "label_emb.0.2"),
    residual=("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection"),
    down=("input_blocks.{n}.0", "input_blocks.{n}.1"),
    shrink="input_blocks.{n}.0.op",
    middle=(("middle_block.0", "middle_block.1"), ("middle_block.2", "")),
    up=("output_blocks.{n}.0", "output_blocks.{n}.1"),
    grow="output_blocks.{n}.{last}.conv",
)
DIFFUSERS = Layout(
    ends=("time_embedding.linear_1", "time_embedding.linear_2", "conv_in", "conv_norm_out", "conv_out"),
    pooled=("class_embedding.linear_1", "class_embedding.linear_2"),
    residual=("norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut"),
    down=("down_blocks.{level}.resnets.{k}", "down_blocks.{level}.attentions.{k}"),
    shrink="down_blocks.{level}.downsamplers.0.conv",
    middle=(("mid_block.resnets.0", "mid_block.attentions.0"), ("mid_block.resnets.1", "")),
    up=("up_blocks.{turn}.resnets.{k}", "up_blocks.{turn}.attentions.{k}"),
    grow="up_blocks.{turn}.upsamplers.0.conv",
)
_TRANSFORMER_BLOCK = (
    *same("norm1", "norm1"), *same("norm2", "norm2"), *same("norm3", "norm3"),
    Entry("self_attention.qkv.weight", tuple(f"attn1.to_{part}.weight" for part in "qkv")),
    *same("self_attention.out", "attn1.to_out.0"), *same("cross_attention.q", "attn2.to_q", ("weight",)),
    Entry("cross_attention.kv.weight", ("attn2.to_k.weight", "attn2.to_v.weight")),
    *same("cross_attention.out", "attn2.to_out.0"), *same("mlp.fc1", "ff.net.0.proj"), *same("mlp.fc2", "ff.net.2"),
)  # fmt: skip


def ldm(config: Unet) -> Iterator[Entry]:
    """The entries in ldm's layout, without the prefix `model.diffusion_model.` that its single files have."""
    return _unet(config, LDM)


def diffusers(config: Unet, pooled: Literal["class_embedding", "add_embedding"] = "class_embedding") -> Iterator[Entry]:
    """The entries in diffusers' layout; `pooled` is its name of the vector's layers, `add_embedding` for SDXL."""
    return _unet(config, replace(DIFFUSERS, pooled=(f"{pooled}.linear_1", f"{pooled}.linear_2")))


def _unet(config: Unet, layout: Layout) -> Iterator[Entry]:
    for ours, theirs in zip(ENDS, layout.ends, strict=True):
        yield from same(ours, theirs)
    if config.pooled_width is not None:
        yield from (*same("pooled.0", layout.pooled[0]), *same("pooled.2", layout.pooled[1]))
    row, before = config.resblocks + 1, 1
    for level, (depth, multiplier) in enumerate(zip(config.depths, config.multipliers, strict=True)):
        for k in range(config.resblocks):
            place = _at(layout.down, level=level, k=k, n=level * row + k + 1)
            yield from _stage(f"down.{level}.stages.{k}", place, depth, config, layout, skip=multiplier != before)
            before = multiplier
        if level < len(config.depths) - 1:
            yield from same(f"down.{level}.shrink", layout.shrink.format(level=level, n=(level + 1) * row))
    for k, place in enumerate(layout.middle):
        yield from _stage(f"middle.{k}", place, 0 if k else config.middle_depth, config, layout, skip=False)
    for turn, depth in enumerate(reversed(config.depths)):
        for k in range(row):
            place = _at(layout.up, turn=turn, k=k, n=turn * row + k)
            yield from _stage(f"up.{turn}.stages.{k}", place, depth, config, layout, skip=True)
        if turn < len(config.depths) - 1:
            last = layout.grow.format(turn=turn, n=(turn + 1) * row - 1, last=2 if depth else 1)
            yield from same(f"up.{turn}.grow.conv", last)


def _at(place: Place, **numbers: int) -> Place:
    return place[0].format(**numbers), place[1].format(**numbers)


def _stage(ours: str, place: Place, depth: int, config: Unet, layout: Layout, *, skip: bool) -> Iterator[Entry]:
    """A residual block, with a `skip` if it changes the width, and a transformer of `depth` blocks if that is not 0."""
    for layer, name in zip(RESIDUAL, layout.residual, strict=True):
        if skip or layer != "skip":
            yield from same(f"{ours}.residual.{layer}", f"{place[0]}.{name}")
    if not depth:
        return
    projection = Form.SAME if config.linear_projections else Form.CONVOLUTION
    transformer = [*same("norm", "norm"), *same("project_in", "proj_in", form=projection)]
    for k in range(depth):
        transformer += under(f"blocks.{k}.", f"transformer_blocks.{k}.", _TRANSFORMER_BLOCK)
    transformer += same("project_out", "proj_out", form=projection)
    yield from under(f"{ours}.transformer.", f"{place[1]}.", transformer)
