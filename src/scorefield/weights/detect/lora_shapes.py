"""What a LoRA is, from the names and shapes of its tensors and from its metadata, without loading it."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scorefield.weights.detect.identity import BY_WORDS, Family, Identity, Kind, Layout, part
from scorefield.weights.lora.keys import parse_key
from scorefield.weights.lora.settings import settings
from scorefield.weights.tensor_index import Plain, Stored, TensorIndex

_PARTS = {
    "lora_unet_": "unet", "unet.": "unet", "diffusion_model.": "unet",
    "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "text_encoder.": "text_encoder",
    "lora_te2_": "text_encoder_2", "text_encoder_2.": "text_encoder_2",
}  # fmt: skip
_READS = (re.compile(r".*attn2[._]to_k"), re.compile(r"(lora_te_|text_encoder\.).*self_attn[._](q_proj|to_q)"))
_STATED = ("ss_base_model_version", "modelspec.architecture")  # by kohya's trainer, and by the model specification
_NAMED = {
    Family.SD1: ("sd_v1", "stable-diffusion-v1"),
    Family.SD2: ("sd_v2", "stable-diffusion-v2"),
    Family.SDXL: ("sdxl", "stable-diffusion-xl"),
}
_KINDS = {  # of layers, by what is in the name
    "of attention": re.compile(r".*attn\d?[._]"),
    "of feed-forward": re.compile(r".*[._](ff|mlp)[._]"),
    "of convolution": re.compile(r".*[._](conv|resnets|in_layers|out_layers|emb_layers|skip_connection|op)"),
}
_OTHER = "other"
_LYCORIS = re.compile(r"(?P<layer>.+)\.(hada_w1_b|lokr_w1(_b)?|oft_blocks)")
_NOT_USED = "its kind of product cannot be used here, only LoRA and LoCon"
_IN_FILE = "of its own for each layer, in the file"
_NO_ALPHA = "not there: the scale is 1"
_DORA = "with DoRA's norms of the weights"


class Half(NamedTuple):
    """The half of a layer that is (rank, in, ...), or the tensor that stands for it in another kind of product."""

    layer: str
    layout: Layout
    shape: tuple[int, ...]


def lora(listing: TensorIndex) -> Identity | None:
    """The LoRA that a whole file is, or None."""
    tensors = listing.tensors
    halves = [half for name, one in tensors.items() if (half := _half(name, one))]
    if not halves:
        return None
    layout = Layout.LYCORIS if any(half.layout is Layout.LYCORIS for half in halves) else halves[0].layout
    parts = {
        name: part(tensors, prefix) for prefix, name in _PARTS.items() if any(key.startswith(prefix) for key in tensors)
    }
    stated = next((listing.metadata[name] for name in _STATED if listing.metadata.get(name)), None)
    family = _by_width(halves, parts) or _by_name(stated)
    dora = any(name.endswith(".dora_scale") or ".lora_magnitude_vector" in name for name in tensors)
    return Identity(
        kind=Kind.LORA,
        family=family or Family.UNKNOWN,
        layout=layout,
        parts=parts,
        facts=({} if layout is Layout.LYCORIS else _scale(halves, listing)) | _layers(halves),
        notes=(_NOT_USED,) if layout is Layout.LYCORIS else (_DORA,) if dora else (),
        resembles=None if family else stated,
    )


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


def _scale(halves: Sequence[Half], listing: TensorIndex) -> dict[str, Plain]:
    """The ranks, and alpha where it can be told without loading a tensor."""
    alphas = {str(value) for name, value in settings(listing).items() if name.endswith("lora_alpha")}
    alpha = listing.metadata.get("ss_network_alpha") or ", ".join(sorted(alphas))
    if not alpha:
        alpha = _IN_FILE if any(name.endswith(".alpha") for name in listing.tensors) else _NO_ALPHA
    return {"rank": ", ".join(map(str, sorted({half.shape[0] for half in halves}))), "alpha": alpha}


def _layers(halves: Sequence[Half]) -> dict[str, Plain]:
    """How many layers it changes, and of which kinds."""
    counted = Counter(_kind(half.layer) for half in halves)
    targets = (f"{counted[kind]} {kind}" for kind in (*_KINDS, _OTHER) if counted[kind])
    return {"layers": len(halves), "targets": ", ".join(targets)}


def _kind(layer: str) -> str:
    return next((kind for kind, pattern in _KINDS.items() if pattern.match(layer)), _OTHER)
