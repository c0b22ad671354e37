"""Identify a LoRA by its names, shapes and metadata, without loading it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from scorefield.input_files import Json
from scorefield.weights.detect.identity import BY_WORDS, Family, Layout, LoraIdentity, part, shown
from scorefield.weights.lora.keys import NORMS, parse_key
from scorefield.weights.lora.settings import read_settings
from scorefield.weights.tensor_index import Stored, TensorIndex

_PARTS = {
    "lora_unet_": "unet", "unet.": "unet", "diffusion_model.": "unet",
    "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "text_encoder.": "text_encoder",
    "lora_te2_": "text_encoder_2", "text_encoder_2.": "text_encoder_2",
}  # fmt: skip
_READS = (re.compile(r".*attn2[._]to_k"), re.compile(r"(lora_te_|text_encoder\.).*self_attn[._](q_proj|to_q)"))
_STATED = ("ss_base_model_version", "modelspec.architecture")  # by kohya's trainer, and by the model specification
_NAMED = {
    Family.SD1: ("sd_v1", "stable-diffusion-v1"), Family.SD2: ("sd_v2", "stable-diffusion-v2"),
    Family.SDXL: ("sdxl", "stable-diffusion-xl"),
}  # fmt: skip
_KINDS = {  # of layers, by what is in the name
    "of attention": re.compile(r".*attn\d?[._]"),
    "of feed-forward": re.compile(r".*[._](ff|mlp)[._]"),
    "of convolution": re.compile(r".*[._](conv|resnets|in_layers|out_layers|emb_layers|skip_connection|op)"),
}
_OTHER = "other"
_LYCORIS = re.compile(r"(?P<layer>.+)\.(hada_w1_b|lokr_w1(_b)?|oft_blocks)")
_NOT_USED = "this kind of product is not supported, only LoRA and LoCon"
_IN_FILE = "one for each layer, in the file"
_NO_ALPHA = "none: the scale is 1"
_DORA = "with DoRA's norms of the weights"


class Half(NamedTuple):
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
    there = {prefix: name for prefix, name in _PARTS.items() if any(key.startswith(prefix) for key in tensors)}
    parts = {name: part(tensors, prefix) for prefix, name in there.items()}
    named = next((index.metadata[name] for name in _STATED if index.metadata.get(name)), None)
    named = named and shown(named)
    family = _by_width(halves, parts) or _by_name(named)
    dora = any((key := parse_key(name)) is not None and key.role in NORMS for name in tensors)
    counted = Counter(_kind(half.layer) for half in halves)
    return LoraIdentity(
        family=family or Family.UNKNOWN, layout=Layout.LYCORIS if lycoris else halves[0].layout, parts=parts,
        notes=(_NOT_USED,) if lycoris else (_DORA,) if dora else (),
        resembles=None if family else named,
        ranks=() if lycoris else tuple(sorted({half.shape[0] for half in halves})),
        alpha=None if lycoris else _alpha(index, read_settings(index) if stated is None else stated),
        layers=len(halves), targets={kind: counted[kind] for kind in (*_KINDS, _OTHER) if counted[kind]}, dora=dora,
    )  # fmt: skip


def _half(name: str, stored: Stored) -> Half | None:
    key = parse_key(name)
    if stored.shape and key and key.role == "down":
        return Half(key.layer, key.layout, stored.shape)
    found = _LYCORIS.fullmatch(name)
    return Half(found["layer"], Layout.LYCORIS, stored.shape) if stored.shape and found else None


def _by_width(halves: Sequence[Half], parts: Iterable[str]) -> Family | None:
    """The family whose tokens are as wide as the LoRA's layers that read tokens, if it has such layers."""
    if "text_encoder_2" in parts:
        return Family.SDXL
    for pattern in _READS:
        for half in halves:
            if pattern.fullmatch(half.layer) and len(half.shape) > 1:
                return BY_WORDS.get(half.shape[1])
    return None


def _by_name(stated: str | None) -> Family | None:
    return next((family for family, names in _NAMED.items() if stated and stated.startswith(names)), None)


def _alpha(index: TensorIndex, stated: Mapping[str, Json]) -> str:
    """Alpha in words, as far as it is known without loading a tensor."""
    alphas = {str(value) for name, value in stated.items() if name.endswith("lora_alpha")}
    alpha = index.metadata.get("ss_network_alpha") or ", ".join(sorted(alphas))
    return shown(alpha) or (_IN_FILE if any(name.endswith(".alpha") for name in index.tensors) else _NO_ALPHA)


def _kind(layer: str) -> str:
    return next((kind for kind, pattern in _KINDS.items() if pattern.match(layer)), _OTHER)
