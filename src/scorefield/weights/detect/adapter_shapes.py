"""Identify a LoRA or a textual inversion by its names, shapes and metadata, in each published form."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scorefield.input_files import Json
from scorefield.printable import one_line
from scorefield.weights.detect.identity import (
    BY_WORDS,
    WANS,
    EmbeddingIdentity,
    Family,
    Layout,
    LearnedWord,
    LoraIdentity,
)
from scorefield.weights.lora.lora_keys import NORMS, PREFIXES, TRANSFORMER, UNET, parse_key, read_settings
from scorefield.weights.tensor_index import Stored, TensorIndex

_READS = (re.compile(r".*attn2[._]to_k"), re.compile(r"(lora_te_|text_encoder\.).*self_attn[._](q_proj|to_q)"))
_WAN = re.compile(  # a layer of a transformer of Wan; those that read its own width, in the group
    rf"(?:{'|'.join(map(re.escape, PREFIXES[TRANSFORMER]))}|)blocks[._]\d+[._]"
    r"(?:(?P<own>(?:(?:self_attn|cross_attn)[._][qkvo]|attn[12][._]to_(?:[qkv]|out[._]0)))"
    r"|(?:cross_attn[._][kv]_img|attn2[._]add_[kv]_proj|ffn[._](?:0|2|net[._].*)))"
)
_STATED = ("ss_base_model_version", "modelspec.architecture")  # by kohya's trainer, and by the model specification
_NAMED = {  # how what is stated begins
    Family.SD1: ("sd_v1", "stable-diffusion-v1"), Family.SD2: ("sd_v2", "stable-diffusion-v2"),
    Family.SDXL: ("sdxl", "stable-diffusion-xl"),
}  # fmt: skip
_KINDS = {  # of layers, by what is in the name
    "of attention": re.compile(r".*attn\d?[._]"),
    "of feed-forward": re.compile(r".*[._](ff|ffn|mlp)[._]"),
    "of convolution": re.compile(r".*[._](conv|resnets|in_layers|out_layers|emb_layers|skip_connection|op)"),
    "other": re.compile(""),
}
_LYCORIS = re.compile(r"(?P<layer>.+)\.(hada_w1_b|lokr_w1(_b)?|oft_blocks)")
_NOT_USED = "this kind of product is not supported, only LoRA and LoCon"
_IN_FILE = "one for each layer, in the file"
_NO_ALPHA = "none: the scale is 1"
_DORA = "with DoRA's norms of the weights"

TOKEN = "token"  # the word in the header of a file for two encoders; ours have it
TRAINING = re.compile(r"(^|\.)(optimizer\w*|exp_avg\w*|momentum_buffer|param_groups)(\.|$)")  # the state of a training
_ENCODERS = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))  # the second by older scripts of diffusers
_NAMELESS = ("", "emb_params", "clip_l", "text_encoders_0")  # tensors that do not name their word
_MOST_VECTORS = 128  # more than a prompt has room for
_MOST_WORDS = 64
_BY_WIDTH = BY_WORDS | {256: Family.SCOREFIELD}  # of the embedded model `scenes`
_UNNAMED = "the file does not name its token: give one, as TOKEN=PATH"
_STAR = "string_to_param."


class _Half(NamedTuple):
    """The half of a layer that is (rank, in, ...), or its counterpart in another kind of product."""

    layer: str
    layout: Layout
    shape: tuple[int, ...]


def identify_lora(index: TensorIndex, stated: Mapping[str, Json] | None = None) -> LoraIdentity | None:
    """The LoRA that a whole file is, or None; its settings are read unless they are `stated`."""
    tensors = index.tensors
    halves = [half for name, one in tensors.items() if (half := _half(name, one))]
    if not halves:
        return None
    lycoris = any(half.layout is Layout.LYCORIS for half in halves)
    wan = _wan(halves)
    other = UNET if wan else TRANSFORMER  # whose prefixes it may have, though it is not for one
    there = ((part, prefix) for part, prefixes in PREFIXES.items() if part != other for prefix in prefixes)
    parts = {part: index.part(prefix) for part, prefix in there if any(key.startswith(prefix) for key in tensors)}
    named = one_line(next((index.metadata[name] for name in _STATED if index.metadata.get(name)), ""))
    by_name = (family for family, names in _NAMED.items() if named.startswith(names))
    family = wan or _by_width(halves, parts) or next(by_name, Family.UNKNOWN)
    dora = any((key := parse_key(name)) is not None and key.role in NORMS for name in tensors)
    counted = Counter(next(kind for kind, name in _KINDS.items() if name.match(half.layer)) for half in halves)
    return LoraIdentity(
        family=family, layout=Layout.LYCORIS if lycoris else halves[0].layout, parts=parts,
        notes=(_NOT_USED,) if lycoris else (_DORA,) if dora else (),
        resembles=(named or None) if family is Family.UNKNOWN else None,
        ranks=() if lycoris else tuple(sorted({half.shape[0] for half in halves})),
        alpha=None if lycoris else _alpha(index, read_settings(index) if stated is None else stated),
        layers=len(halves), targets={kind: counted[kind] for kind in _KINDS if counted[kind]},
    )  # fmt: skip


def _half(name: str, stored: Stored) -> _Half | None:
    key = parse_key(name)
    if stored.shape and key and key.role == "down":
        return _Half(key.layer, key.layout, stored.shape)
    found = _LYCORIS.fullmatch(name)
    return _Half(found["layer"], Layout.LYCORIS, stored.shape) if stored.shape and found else None


def _wan(halves: Sequence[_Half]) -> Family | None:
    """Which Wan a LoRA is for, by the width of its layers; None for another model's."""
    matches = [(match, half) for half in halves if (match := _WAN.fullmatch(half.layer))]
    if not matches:
        return None
    widths = (half.shape[1] for match, half in matches if match["own"] and len(half.shape) > 1)
    return WANS.get(next(widths, 0), Family.WAN)


def _by_width(halves: Sequence[_Half], parts: Iterable[str]) -> Family | None:
    """The family whose tokens are as wide as the LoRA's layers that read tokens, if it has such layers."""
    if "text_encoder_2" in parts:
        return Family.SDXL
    wide = (half for name in _READS for half in halves if name.fullmatch(half.layer) and len(half.shape) > 1)
    return next((BY_WORDS.get(half.shape[1]) for half in wide), None)


def _alpha(index: TensorIndex, stated: Mapping[str, Json]) -> str:
    """Alpha in words, as far as it is known without loading a tensor."""
    alphas = {str(value) for name, value in stated.items() if name.endswith("lora_alpha")}
    alpha = index.metadata.get("ss_network_alpha") or ", ".join(sorted(alphas))
    return one_line(alpha) or (_IN_FILE if any(name.endswith(".alpha") for name in index.tensors) else _NO_ALPHA)


def identify_inversion(index: TensorIndex) -> EmbeddingIdentity | None:
    """The textual inversion that a whole file is, or None."""
    layout, keyed = learned_words(index)
    words = [
        word._replace(
            token=word.token and one_line(word.token), vectors=sizes[0][0], widths=tuple(width for _, width in sizes)
        )
        for word in keyed
        if len(sizes := [size for key in word.keys if (size := _size(index.tensors[key]))]) == len(word.keys)
    ]
    if not words or len(words) < len(keyed) or len({word.widths for word in words}) > 1:
        return None
    widths = words[0].widths
    family = Family.SDXL if len(widths) > 1 else _BY_WIDTH.get(widths[0], Family.UNKNOWN)
    notes = (_UNNAMED,) if any(word.token is None for word in words) else ()
    return EmbeddingIdentity(family=family, layout=layout, words=tuple(words), notes=notes)


def learned_words(index: TensorIndex) -> tuple[Layout, Sequence[LearnedWord]]:
    """The layout of a file, and each word's token and tensors, by their names alone; no words in any other file."""
    tensors = index.tensors
    if stars := [key for key in tensors if key.startswith(_STAR)]:
        names = [index.values.get("name")] if len(stars) == 1 else [key.removeprefix(_STAR) for key in stars]
        return Layout.A1111, [LearnedWord(_token(name), (key,)) for name, key in zip(names, stars, strict=True)]
    if encoders := next((encoders for encoders in _ENCODERS if tensors.keys() == set(encoders)), None):
        return Layout.BARE, [LearnedWord(_token(index.metadata.get(TOKEN)), encoders)]
    if len(tensors) == 1 and next(iter(tensors)) in _NAMELESS:
        return Layout.BARE, [LearnedWord(None, (key,)) for key in tensors]
    if len(tensors) > _MOST_WORDS or any(key.endswith(("weight", "bias")) or TRAINING.search(key) for key in tensors):
        return Layout.UNKNOWN, []
    return Layout.DIFFUSERS, [LearnedWord(_token(key), (key,)) for key in tensors]


def _token(name: object) -> str | None:
    return (name.strip() or None) if isinstance(name, str) else None


def _size(stored: Stored) -> tuple[int, int] | None:
    """How many vectors a tensor holds, and how wide they are; None if it cannot be vectors of tokens."""
    count, width = (1, *stored.shape) if len(stored.shape) == 1 else stored.shape if len(stored.shape) == 2 else (0, 0)
    return (count, width) if stored.floating and 0 < count <= _MOST_VECTORS and 64 <= width <= 4096 else None
