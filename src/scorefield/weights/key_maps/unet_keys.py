"""Latent diffusion's U-Net in the layouts of ldm's single files and of diffusers' folders."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from scorefield.weights.key_map import Entry, Form, same, under

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


Place = tuple[str, str]  # where a stage's residual block is, and its transformer


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a file has the parts; levels count from the finest, stages in the order in which they run."""

    time: tuple[str, str]
    pooled: tuple[str, str]
    ends: tuple[str, str, str]  # first convolution, last norm, last convolution
    residual: tuple[str, ...]  # their names of the layers RESIDUAL
    middle: tuple[Place, Place]
    down: Callable[[int, int], Place]  # of level and stage
    up: Callable[[int, int], Place]
    shrink: Callable[[int], str]  # of the level that it leaves
    grow: Callable[[int], str]


def ldm(config: Unet) -> Iterator[Entry]:
    """The entries in ldm's layout, without the prefix `model.diffusion_model.` that its single files have.

    The file has one row of blocks down and one up; a block lists its residual block, transformer and resampling.
    """
    row, coarsest = config.resblocks + 1, len(config.depths) - 1

    def grow(level: int) -> str:
        behind = 2 if config.depths[level] else 1
        return f"output_blocks.{(coarsest - level + 1) * row - 1}.{behind}.conv"

    layout = Layout(
        time=("time_embed.0", "time_embed.2"),
        pooled=("label_emb.0.0", "label_emb.0.2"),
        ends=("input_blocks.0.0", "out.0", "out.2"),
        residual=("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection"),
        middle=(("middle_block.0", "middle_block.1"), ("middle_block.2", "")),
        down=lambda level, stage: _block("input_blocks", level * row + stage + 1),
        up=lambda level, stage: _block("output_blocks", (coarsest - level) * row + stage),
        shrink=lambda level: f"input_blocks.{(level + 1) * row}.0.op",
        grow=grow,
    )
    return _unet(config, layout)


def _block(row: str, number: int) -> Place:
    return f"{row}.{number}.0", f"{row}.{number}.1"


def diffusers(config: Unet, pooled: Literal["class_embedding", "add_embedding"] = "class_embedding") -> Iterator[Entry]:
    """The entries in diffusers' layout; `pooled` is its name of the vector's layers, `add_embedding` for SDXL."""
    coarsest = len(config.depths) - 1
    layout = Layout(
        time=("time_embedding.linear_1", "time_embedding.linear_2"),
        pooled=(f"{pooled}.linear_1", f"{pooled}.linear_2"),
        ends=("conv_in", "conv_norm_out", "conv_out"),
        residual=("norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut"),
        middle=(("mid_block.resnets.0", "mid_block.attentions.0"), ("mid_block.resnets.1", "")),
        down=lambda level, stage: _in_lists(f"down_blocks.{level}", stage),
        up=lambda level, stage: _in_lists(f"up_blocks.{coarsest - level}", stage),
        shrink=lambda level: f"down_blocks.{level}.downsamplers.0.conv",
        grow=lambda level: f"up_blocks.{coarsest - level}.upsamplers.0.conv",
    )
    return _unet(config, layout)


def _in_lists(block: str, stage: int) -> Place:
    return f"{block}.resnets.{stage}", f"{block}.attentions.{stage}"


def _unet(config: Unet, layout: Layout) -> Iterator[Entry]:
    outer = [*zip(("time.0", "time.2"), layout.time, strict=True)]
    outer += zip(("first", "last_norm", "last"), layout.ends, strict=True)
    if config.pooled_width is not None:
        outer += zip(("pooled.0", "pooled.2"), layout.pooled, strict=True)
    for ours, theirs in outer:
        yield from same(ours, theirs)
    for ours, place, depth, skip in _stages(config, layout):
        for layer, name in zip(RESIDUAL, layout.residual, strict=True):
            if skip or layer != "skip":
                yield from same(f"{ours}.residual.{layer}", f"{place[0]}.{name}")
        if depth:
            yield from under(f"{ours}.transformer.", f"{place[1]}.", _transformer(depth, config.linear_projections))
    for level in range(len(config.depths) - 1):
        yield from same(f"down.{level}.shrink", layout.shrink(level))
        yield from same(f"up.{level}.grow.conv", layout.grow(len(config.depths) - 1 - level))


def _stages(config: Unet, layout: Layout) -> Iterator[tuple[str, Place, int, bool]]:
    """Each stage's name here, its place in the file, its transformer's depth, whether its residual block has a skip."""
    before = 1
    for level, depth in enumerate(config.depths):
        for stage in range(config.resblocks):
            wider = config.multipliers[level] != before
            yield f"down.{level}.stages.{stage}", layout.down(level, stage), depth, wider
            before = config.multipliers[level]
    for stage, place in enumerate(layout.middle):
        yield f"middle.{stage}", place, 0 if stage else config.middle_depth, False
    for block, level in enumerate(reversed(range(len(config.depths)))):
        for stage in range(config.resblocks + 1):
            yield f"up.{block}.stages.{stage}", layout.up(level, stage), config.depths[level], True


_TRANSFORMER_BLOCK = (
    *same("norm1", "norm1"), *same("norm2", "norm2"), *same("norm3", "norm3"),
    Entry("self_attention.qkv.weight", tuple(f"attn1.to_{part}.weight" for part in "qkv"), Form.STACKED),
    *same("self_attention.out", "attn1.to_out.0"), *same("cross_attention.q", "attn2.to_q", ("weight",)),
    Entry("cross_attention.kv.weight", ("attn2.to_k.weight", "attn2.to_v.weight"), Form.STACKED),
    *same("cross_attention.out", "attn2.to_out.0"), *same("mlp.fc1", "ff.net.0.proj"), *same("mlp.fc2", "ff.net.2"),
)  # fmt: skip


def _transformer(depth: int, linear_projections: bool) -> Iterator[Entry]:
    """The inside of a transformer, which both layouts name alike."""
    projection = Form.SAME if linear_projections else Form.CONVOLUTION
    yield from same("norm", "norm")
    yield from same("project_in", "proj_in", form=projection)
    for k in range(depth):
        yield from under(f"blocks.{k}.", f"transformer_blocks.{k}.", _TRANSFORMER_BLOCK)
    yield from same("project_out", "proj_out", form=projection)
