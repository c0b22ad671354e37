"""Latent diffusion's autoencoder in the layouts of ldm's single files and of diffusers' folders, old and new."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from scorefield.weights.key_map import Entry, Form, same, under


class Kl(Protocol):
    """The settings of an autoencoder that its map depends on."""

    @property
    def multipliers(self) -> tuple[int, ...]: ...
    @property
    def resblocks(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a file has the parts; `level` counts from the finest, `turn` from the coarsest, `k` within a level."""

    down: str
    shrink: str
    up: str
    grow: str
    middle: tuple[str, str, str]  # residual block, attention, residual block
    skip: str
    norm: str  # before the last convolution
    attention: tuple[str, ...]  # as ATTENTION
    projections: Form  # of q, k, v, out


ATTENTION = ("norm", "q", "k", "v", "out")  # our layers of attention
LDM = Layout(
    down="encoder.down.{level}.block.{k}",
    shrink="encoder.down.{level}.downsample.conv",
    up="decoder.up.{level}.block.{k}",
    grow="decoder.up.{level}.upsample.conv",
    middle=("mid.block_1", "mid.attn_1", "mid.block_2"),
    skip="nin_shortcut",
    norm="norm_out",
    attention=("norm", "q", "k", "v", "proj_out"),
    projections=Form.CONVOLUTION,
)
DIFFUSERS = Layout(
    down="encoder.down_blocks.{level}.resnets.{k}",
    shrink="encoder.down_blocks.{level}.downsamplers.0.conv",
    up="decoder.up_blocks.{turn}.resnets.{k}",
    grow="decoder.up_blocks.{turn}.upsamplers.0.conv",
    middle=("mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"),
    skip="conv_shortcut",
    norm="conv_norm_out",
    attention=("group_norm", "to_q", "to_k", "to_v", "to_out.0"),
    projections=Form.SAME,
)
_OLD_ATTENTION = ("group_norm", "query", "key", "value", "proj_attn")  # of diffusers before 0.15


def ldm(config: Kl) -> Iterator[Entry]:
    """The entries in ldm's layout, without the prefix `first_stage_model.` that its single files have."""
    return _kl(config, LDM)


def diffusers(config: Kl) -> Iterator[Entry]:
    """The entries in diffusers' layout."""
    return _kl(config, DIFFUSERS)


def stored(config: Kl, keys: Collection[str], prefix: str = "") -> list[Entry]:
    """The entries of a file with these `keys`: in either layout, with any of the names that attention has had.

    Conversions between the layouts have left each of those names in either.
    """
    layout = LDM if f"{prefix}encoder.down.0.block.0.norm1.weight" in keys else DIFFUSERS
    place = f"{prefix}encoder.{layout.middle[1]}"
    known = zip(layout.attention, LDM.attention, DIFFUSERS.attention, _OLD_ATTENTION, strict=True)
    attention = [next((one for one in names if f"{place}.{one}.weight" in keys), names[0]) for names in known]
    return list(under("", prefix, _kl(config, replace(layout, attention=tuple(attention)))))


def _kl(config: Kl, layout: Layout) -> Iterator[Entry]:
    yield from (*same("moments", "quant_conv"), *same("entry", "post_quant_conv"))
    for half in ("encoder", "decoder"):
        first, attention, second = (f"{half}.{place}" for place in layout.middle)
        yield from same(f"{half}.first", f"{half}.conv_in")
        yield from _residual(f"{half}.middle.0", first, layout)
        for ours, theirs in zip(ATTENTION, layout.attention, strict=True):
            form = Form.SAME if ours == "norm" else layout.projections
            yield from same(f"{half}.middle.1.{ours}", f"{attention}.{theirs}", form=form)
        yield from _residual(f"{half}.middle.2", second, layout)
        yield from (*same(f"{half}.last.0", f"{half}.{layout.norm}"), *same(f"{half}.last.2", f"{half}.conv_out"))
    top, before = len(config.multipliers) - 1, 1
    for level, after in enumerate(config.multipliers):
        for k in range(config.resblocks):
            place = layout.down.format(level=level, k=k)
            yield from _residual(f"encoder.down.{level}.{k}", place, layout, skip=after != before)
            before = after
        if level < top:
            yield from same(f"encoder.down.{level}.{config.resblocks}.conv", layout.shrink.format(level=level))
    for turn, after in enumerate(reversed(config.multipliers)):
        for k in range(config.resblocks + 1):
            place = layout.up.format(level=top - turn, turn=turn, k=k)
            yield from _residual(f"decoder.up.{turn}.{k}", place, layout, skip=after != before)
            before = after
        if turn < top:
            place = layout.grow.format(level=top - turn, turn=turn)
            yield from same(f"decoder.up.{turn}.{config.resblocks + 1}.conv", place)


def _residual(ours: str, theirs: str, layout: Layout, *, skip: bool = False) -> Iterator[Entry]:
    for layer in ("norm1", "conv1", "norm2", "conv2"):
        yield from same(f"{ours}.{layer}", f"{theirs}.{layer}")
    if skip:
        yield from same(f"{ours}.skip", f"{theirs}.{layout.skip}")
