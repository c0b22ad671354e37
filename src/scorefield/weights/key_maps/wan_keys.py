"""Wan's diffusion transformer in the layouts of the original files and of diffusers' folders."""

from collections.abc import Iterator
from typing import Protocol

from scorefield.weights.key_map import Entry, Table, under


class Transformer(Protocol):
    """The settings of a transformer that its map depends on."""

    @property
    def depth(self) -> int: ...
    @property
    def image_width(self) -> int | None: ...
    @property
    def image_positions(self) -> int | None: ...


_ORIGINAL, _DIFFUSERS = 0, 1  # columns of the tables
_ENDS: Table = {
    "patch": ("patch_embedding", "patch_embedding"),
    "text.0": ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    "text.1": ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    "time.0": ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    "time.2": ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    "modulation.1": ("time_projection.1", "condition_embedder.time_proj"),
    "last": ("head.head", "proj_out"),
}
_IMAGE: Table = {
    "image.norm1": ("img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
    "image.fc1": ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    "image.fc2": ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    "image.norm2": ("img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
}
# `part` is that of our joined queries, keys and values. The norm before the cross-attention is the original's third
# and diffusers' second: each counts them in an order of its own, and the other two have no weights.
_BLOCK: Table = {
    "self_attention.qkv": ("self_attn.{part}", "attn1.to_{part}"),
    "self_attention.query_norm": ("self_attn.norm_q", "attn1.norm_q"),
    "self_attention.key_norm": ("self_attn.norm_k", "attn1.norm_k"),
    "self_attention.out": ("self_attn.o", "attn1.to_out.0"),
    "norm": ("norm3", "norm2"),
    "cross_attention.q": ("cross_attn.q", "attn2.to_q"),
    "cross_attention.query_norm": ("cross_attn.norm_q", "attn2.norm_q"),
    "cross_attention.kv": ("cross_attn.{part}", "attn2.to_{part}"),
    "cross_attention.key_norm": ("cross_attn.norm_k", "attn2.norm_k"),
    "cross_attention.out": ("cross_attn.o", "attn2.to_out.0"),
    "mlp.0": ("ffn.0", "ffn.net.0.proj"),
    "mlp.1": ("ffn.2", "ffn.net.2"),
}
_BLOCK_IMAGE: Table = {
    "cross_attention.image_kv": ("cross_attn.{part}_img", "attn2.add_{part}_proj"),
    "cross_attention.image_key_norm": ("cross_attn.norm_k_img", "attn2.norm_added_k"),
}
_TENSORS: Table = {  # that belong to no layer
    "table": ("modulation", "scale_shift_table"),
    "last_table": ("head.modulation", "scale_shift_table"),
    "image.positions": ("img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"),
}


def original(config: Transformer) -> Iterator[Entry]:
    """The entries in the layout of the original files."""
    return _transformer(config, _ORIGINAL)


def diffusers(config: Transformer) -> Iterator[Entry]:
    """The entries in diffusers' layout."""
    return _transformer(config, _DIFFUSERS)


def _transformer(config: Transformer, layout: int) -> Iterator[Entry]:
    yield from _layers(_ENDS, layout)
    yield _tensor("last_table", layout)
    if config.image_width is not None:
        yield from _layers(_IMAGE, layout)
    if config.image_positions is not None:
        yield _tensor("image.positions", layout)
    for index in range(config.depth):
        yield from under(f"blocks.{index}.", f"blocks.{index}.", _block(layout, config.image_width is not None))


def _block(layout: int, images: bool) -> Iterator[Entry]:
    yield _tensor("table", layout)
    yield from _layers(_BLOCK, layout)
    if images:
        yield from _layers(_BLOCK_IMAGE, layout)


def _tensor(ours: str, layout: int) -> Entry:
    return Entry(ours, (_TENSORS[ours][layout],))


def _layers(table: Table, layout: int) -> Iterator[Entry]:
    for ours, names in table.items():
        parts = ours.rpartition(".")[2].removeprefix("image_") if "{part}" in names[layout] else "-"
        for leaf in ("weight",) if ours.endswith("_norm") else ("weight", "bias"):
            yield Entry(f"{ours}.{leaf}", tuple(f"{names[layout].format(part=part)}.{leaf}" for part in parts))
