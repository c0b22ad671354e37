"""UMT5's encoder in the layouts of Wan 2.1's own file and of transformers' folders; ComfyUI's files have the latter."""

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from scorefield.weights.detect.film_shapes import SPIECE
from scorefield.weights.key_map import Entry, under


class Umt5(Protocol):
    """The setting of an encoder that its map depends on."""

    @property
    def layers(self) -> int: ...


_WAN, _TRANSFORMERS = 0, 1  # columns of the tables
Names = tuple[str, ...]  # several of theirs, concatenated, are one of ours
_ENDS: Mapping[str, tuple[Names, Names]] = {
    "tokens": (("token_embedding",), ("shared",)),
    "norm": (("norm",), ("encoder.final_layer_norm",)),
}
_BLOCK: Mapping[str, tuple[Names, Names]] = {
    "norm1": (("norm1",), ("layer.0.layer_norm",)),
    "attention.qkv":
        (("attn.q", "attn.k", "attn.v"),
         ("layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v")),
    "attention.out": (("attn.o",), ("layer.0.SelfAttention.o",)),
    "attention.position_bias": (("pos_embedding.embedding",), ("layer.0.SelfAttention.relative_attention_bias",)),
    "norm2": (("norm2",), ("layer.1.layer_norm",)),
    "mlp.fc1": (("ffn.gate.0", "ffn.fc1"), ("layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1")),
    "mlp.fc2": (("ffn.fc2",), ("layer.1.DenseReluDense.wo",)),
}  # fmt: skip
_TOKENS, _TIED = "shared.weight", "encoder.embed_tokens.weight"  # one embedding, whose file has either name or both


def wan(config: Umt5) -> Iterator[Entry]:
    """The entries in the layout of Wan 2.1's `models_t5_umt5-xxl-enc-bf16.pth`."""
    return _umt5(config, _WAN, "blocks.")


def transformers(config: Umt5, tokens: str = _TOKENS) -> Iterator[Entry]:
    """The entries as UMT5EncoderModel; `tokens` is the name of the embedding."""
    for entry in _umt5(config, _TRANSFORMERS, "encoder.block."):
        yield Entry(entry.ours, (tokens,)) if entry.theirs == (_TOKENS,) else entry


def stored(config: Umt5, keys: Collection[str]) -> list[Entry]:
    """The entries of a file with these `keys`, in either layout, by one of the embedding's names if it has both."""
    if "token_embedding.weight" in keys:
        return list(wan(config))
    return list(transformers(config, _TIED if _TIED in keys and _TOKENS not in keys else _TOKENS))


def needed(keys: Collection[str]) -> list[str]:
    """A file's `keys` without those that the encoder does not need: the embedding's second name, and the tokenizer."""
    unneeded = {SPIECE, *([_TIED] if _TOKENS in keys else [])}
    return [key for key in keys if key not in unneeded]


def _umt5(config: Umt5, layout: int, blocks: str) -> Iterator[Entry]:
    yield from _weights(_ENDS, layout)
    for n in range(config.layers):
        yield from under(f"blocks.{n}.", f"{blocks}{n}.", _weights(_BLOCK, layout))


def _weights(table: Mapping[str, tuple[Names, Names]], layout: int) -> Iterator[Entry]:
    for ours, theirs in table.items():
        yield Entry(f"{ours}.weight", tuple(f"{name}.weight" for name in theirs[layout]))
