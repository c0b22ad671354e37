"""Latent diffusion's autoencoder in the layouts of ldm's single files and of diffusers' folders, old and new."""

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from scorefield.weights.key_map import Entry, Form, Table, named, same, under


class Kl(Protocol):
    """The settings of an autoencoder that its map depends on."""

    @property
    def multipliers(self) -> tuple[int, ...]: ...
    @property
    def resblocks(self) -> int: ...


_LDM, _DIFFUSERS = 0, 1  # columns of the tables
# `level` counts from the finest, `turn` from the coarsest, `k` within a level.
_LAYERS: Table = {
    "{half}.middle.0": ("{half}.mid.block_1", "{half}.mid_block.resnets.0"),
    "{half}.middle.1": ("{half}.mid.attn_1", "{half}.mid_block.attentions.0"),
    "{half}.middle.2": ("{half}.mid.block_2", "{half}.mid_block.resnets.1"),
    "{half}.last.0": ("{half}.norm_out", "{half}.conv_norm_out"),
    "encoder.down.{level}.{k}": ("encoder.down.{level}.block.{k}", "encoder.down_blocks.{level}.resnets.{k}"),
    "encoder.down.{level}.{k}.conv":
        ("encoder.down.{level}.downsample.conv", "encoder.down_blocks.{level}.downsamplers.0.conv"),
    "decoder.up.{turn}.{k}": ("decoder.up.{level}.block.{k}", "decoder.up_blocks.{turn}.resnets.{k}"),
    "decoder.up.{turn}.{k}.conv":
        ("decoder.up.{level}.upsample.conv", "decoder.up_blocks.{turn}.upsamplers.0.conv"),
}  # fmt: skip
_SKIP = ("nin_shortcut", "conv_shortcut")
# Every name that a layer of attention has had: that of ldm, of diffusers, and of diffusers before 0.15. Conversions
# between the layouts have left each of them in either.
_ATTENTION: Table = {
    "norm": ("norm", "group_norm"), "q": ("q", "to_q", "query"), "k": ("k", "to_k", "key"),
    "v": ("v", "to_v", "value"), "out": ("proj_out", "to_out.0", "proj_attn"),
}  # fmt: skip


def ldm(config: Kl) -> Iterator[Entry]:
    """The entries in ldm's layout, without the prefix `first_stage_model.` that its single files have."""
    return _kl(config, _LDM)


def diffusers(config: Kl) -> Iterator[Entry]:
    """The entries in diffusers' layout."""
    return _kl(config, _DIFFUSERS)


def stored(config: Kl, keys: Collection[str], prefix: str = "") -> list[Entry]:
    """The entries of a file with these `keys`: in either layout, with any of the names that attention has had."""
    layout = _LDM if f"{prefix}encoder.down.0.block.0.norm1.weight" in keys else _DIFFUSERS
    place = prefix + named(_LAYERS, layout, "{half}.middle.1", half="encoder")[1]
    attention = {
        ours: next((one for one in names if f"{place}.{one}.weight" in keys), names[layout])
        for ours, names in _ATTENTION.items()
    }
    return list(under("", prefix, _kl(config, layout, attention)))


def _kl(config: Kl, layout: int, attention: Mapping[str, str] | None = None) -> Iterator[Entry]:
    """The entries in a layout, with its own names of the layers of attention or with those of `attention`."""
    yield from (*same("moments", "quant_conv"), *same("entry", "post_quant_conv"))
    for half in ("encoder", "decoder"):
        yield from (*same(f"{half}.first", f"{half}.conv_in"), *same(f"{half}.last.2", f"{half}.conv_out"))
        yield from same(*named(_LAYERS, layout, "{half}.last.0", half=half))
        for block in ("{half}.middle.0", "{half}.middle.2"):
            yield from _residual(layout, block, skip=False, half=half)
        place, theirs = named(_LAYERS, layout, "{half}.middle.1", half=half)
        for ours, names in _ATTENTION.items():
            form = Form.CONVOLUTION if layout == _LDM and ours != "norm" else Form.SAME
            name = attention[ours] if attention else names[layout]
            yield from same(f"{place}.{ours}", f"{theirs}.{name}", form=form)
    top, last, before = len(config.multipliers) - 1, config.resblocks, 1
    for level, after in enumerate(config.multipliers):
        for k in range(last):
            yield from _residual(layout, "encoder.down.{level}.{k}", skip=after != before, level=level, k=k)
            before = after
        if level < top:
            yield from same(*named(_LAYERS, layout, "encoder.down.{level}.{k}.conv", level=level, k=last))
    for turn, after in enumerate(reversed(config.multipliers)):
        at = {"turn": turn, "level": top - turn}
        for k in range(last + 1):
            yield from _residual(layout, "decoder.up.{turn}.{k}", skip=after != before, k=k, **at)
            before = after
        if turn < top:
            yield from same(*named(_LAYERS, layout, "decoder.up.{turn}.{k}.conv", k=last + 1, **at))


def _residual(layout: int, block: str, *, skip: bool, **numbers: object) -> Iterator[Entry]:
    """A residual block of the table, with a `skip` if it changes the width."""
    ours, theirs = named(_LAYERS, layout, block, **numbers)
    for layer in ("norm1", "conv1", "norm2", "conv2"):
        yield from same(f"{ours}.{layer}", f"{theirs}.{layer}")
    if skip:
        yield from same(f"{ours}.skip", f"{theirs}.{_SKIP[layout]}")
