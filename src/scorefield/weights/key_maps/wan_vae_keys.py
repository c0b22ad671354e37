"""Wan's causal autoencoder in the layouts of the original files and of diffusers' folders, for Wan 2.1 and for 2.2."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

from scorefield.weights.key_map import Entry, Form, Table, named, same


class CausalVae(Protocol):
    """The settings of an autoencoder that its map depends on."""

    @property
    def multipliers(self) -> tuple[int, ...]: ...
    @property
    def resblocks(self) -> int: ...
    @property
    def halves_time(self) -> tuple[bool, ...]: ...
    @property
    def shortcuts(self) -> bool: ...


_ORIGINAL, _DIFFUSERS = 0, 1  # columns of the tables
_ENDS: Table = {
    "moments": ("conv1", "quant_conv"),
    "entry": ("conv2", "post_quant_conv"),
    "{half}.first": ("{half}.conv1", "{half}.conv_in"),
    "{half}.middle.0": ("{half}.middle.0", "{half}.mid_block.resnets.0"),
    "{half}.middle.1": ("{half}.middle.1", "{half}.mid_block.attentions.0"),
    "{half}.middle.2": ("{half}.middle.2", "{half}.mid_block.resnets.1"),
    "{half}.last_norm": ("{half}.head.0", "{half}.norm_out"),
    "{half}.last": ("{half}.head.2", "{half}.conv_out"),
}
# `level` counts from the first of a half, `k` within a level, `n` through all levels.
_LEVELS: Table = {
    "encoder.down.{level}.blocks.{k}": ("encoder.downsamples.{n}", "encoder.down_blocks.{n}"),
    "encoder.down.{level}": ("encoder.downsamples.{n}", "encoder.down_blocks.{n}"),
    "decoder.up.{level}.blocks.{k}": ("decoder.upsamples.{n}", "decoder.up_blocks.{level}.resnets.{k}"),
    "decoder.up.{level}": ("decoder.upsamples.{n}", "decoder.up_blocks.{level}.upsamplers.0"),
}
_LEVELS_WITH_SHORTCUTS: Table = {
    "encoder.down.{level}.blocks.{k}":
        ("encoder.downsamples.{level}.downsamples.{k}", "encoder.down_blocks.{level}.resnets.{k}"),
    "encoder.down.{level}": ("encoder.downsamples.{level}.downsamples.{k}", "encoder.down_blocks.{level}.downsampler"),
    "decoder.up.{level}.blocks.{k}":
        ("decoder.upsamples.{level}.upsamples.{k}", "decoder.up_blocks.{level}.resnets.{k}"),
    "decoder.up.{level}": ("decoder.upsamples.{level}.upsamples.{k}", "decoder.up_blocks.{level}.upsampler"),
}  # fmt: skip
_BLOCK: Table = {
    "norm1": ("residual.0", "norm1"), "conv1": ("residual.2", "conv1"),
    "norm2": ("residual.3", "norm2"), "conv2": ("residual.6", "conv2"),
    "skip": ("shortcut", "conv_shortcut"),
}  # fmt: skip


def original(config: CausalVae) -> Iterator[Entry]:
    """The entries in the layout of Wan2.1_VAE.pth."""
    return _causal_vae(config, _ORIGINAL)


def diffusers(config: CausalVae) -> Iterator[Entry]:
    """The entries in the layout of diffusers' AutoencoderKLWan."""
    return _causal_vae(config, _DIFFUSERS)


def _causal_vae(config: CausalVae, layout: int) -> Iterator[Entry]:
    for layer in ("moments", "entry"):
        yield from same(*named(_ENDS, layout, layer), form=Form.CONVOLUTION_3D)
    for half in ("encoder", "decoder"):
        for layer in ("{half}.first", "{half}.last"):
            yield from same(*named(_ENDS, layout, layer, half=half), form=Form.FRAMES)
        yield _gain(*named(_ENDS, layout, "{half}.last_norm", half=half))
        for layer in ("{half}.middle.0", "{half}.middle.2"):
            yield from _block(layout, *named(_ENDS, layout, layer, half=half), skip=False)
        yield from _attention(*named(_ENDS, layout, "{half}.middle.1", half=half))
    multipliers, halves, before = config.multipliers, (*config.halves_time, None), 1.0
    for level, (after, time) in enumerate(zip(multipliers, halves, strict=True)):
        widths = [before, *[after] * config.resblocks]
        yield from _level(config, layout, "encoder.down.{level}", level, widths, time)
        before = after
    halves = (*config.halves_time[::-1], None)
    for level, (after, time) in enumerate(zip(multipliers[::-1], halves, strict=True)):
        widths = [before, *[after] * (config.resblocks + 1)]
        yield from _level(config, layout, "decoder.up.{level}", level, widths, time)
        before = after if config.shortcuts else after / 2


def _level(
    config: CausalVae, layout: int, name: str, level: int, widths: Sequence[float], time: bool | None
) -> Iterator[Entry]:
    """A level of blocks from width to width; `time` says whether it changes the frames, and is None in the last."""
    table = _LEVELS_WITH_SHORTCUTS if config.shortcuts else _LEVELS
    blocks = len(widths) - 1
    first = level * (blocks + 1)
    for k, (before, after) in enumerate(pairwise(widths)):
        names = named(table, layout, f"{name}.blocks.{{k}}", level=level, n=first + k, k=k)
        yield from _block(layout, *names, skip=before != after)
    if time is not None:
        ours, theirs = named(table, layout, name, level=level, n=first + blocks, k=blocks)
        yield from same(f"{ours}.space.conv", f"{theirs}.resample.1")
        if time:
            yield from same(f"{ours}.time", f"{theirs}.time_conv", form=Form.FRAMES)


def _block(layout: int, ours: str, theirs: str, *, skip: bool) -> Iterator[Entry]:
    """A residual block, with a `skip` if it changes the width."""
    for layer, names in _BLOCK.items():
        if layer.startswith("norm"):
            yield _gain(f"{ours}.{layer}", f"{theirs}.{names[layout]}")
        elif layer.startswith("conv"):
            yield from same(f"{ours}.{layer}", f"{theirs}.{names[layout]}", form=Form.FRAMES)
        elif skip:
            yield from same(f"{ours}.{layer}", f"{theirs}.{names[layout]}", form=Form.CONVOLUTION_3D)


def _attention(ours: str, theirs: str) -> Iterator[Entry]:
    yield _gain(f"{ours}.norm", f"{theirs}.norm", Form.CONVOLUTION)
    yield from same(f"{ours}.qkv", f"{theirs}.to_qkv", form=Form.CONVOLUTION)
    yield from same(f"{ours}.out", f"{theirs}.proj", form=Form.CONVOLUTION)


def _gain(ours: str, theirs: str, form: Form = Form.CONVOLUTION_3D) -> Entry:
    return Entry(f"{ours}.weight", (f"{theirs}.gamma",), form)
