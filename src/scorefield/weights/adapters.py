"""What is added to a model: a LoRA or a textual inversion, in each published form."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scorefield.weights.found import Family, Found, Kind, Layout, part
from scorefield.weights.listing import Listing, Plain, Stored

FAMILIES = {768: Family.SD1, 1024: Family.SD2, 2048: Family.SDXL}  # by the width of the words
_LORA = {  # a layout's own names for the smaller half of a layer, whose first side is the rank
    Layout.KOHYA: re.compile(r"lora_\w+\.lora_down\.weight"),
    Layout.PEFT: re.compile(r".*\.lora_A(\.\w+)?\.weight"),
    Layout.OLD_DIFFUSERS: re.compile(r".*[._]lora\.down\.weight"),
    Layout.LYCORIS: re.compile(r".*\.(hada_w1_b|lokr_w1(_b)?)"),
}
_WORDS = (re.compile(r".*attn2[._](processor\.)?to_k"), re.compile(r"(lora_te_|text_encoder\.).*self_attn[._]q_proj"))
_TOWERS = {
    "lora_unet_": "unet", "unet.": "unet",
    "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "text_encoder.": "text_encoder",
    "lora_te2_": "text_encoder_2", "text_encoder_2.": "text_encoder_2",
}  # fmt: skip
_MOST_VECTORS = 128  # more than a prompt has room for
_UNNAMED = "the file does not name its token: say which word stands for it"


def lora(tensors: Mapping[str, Stored]) -> Found | None:
    """The LoRA that a whole file is, or None."""
    for layout, pattern in _LORA.items():
        if smaller := [key for key in tensors if pattern.fullmatch(key) and tensors[key].shape]:
            ranks = sorted({tensors[key].shape[0] for key in smaller})
            rank = {} if layout is Layout.LYCORIS else {"rank": ", ".join(map(str, ranks))}
            parts = {
                name: part(tensors, prefix)
                for prefix, name in _TOWERS.items()
                if any(key.startswith(prefix) for key in tensors)
            }
            facts = rank | {"layers": len(smaller)}
            return Found(kind=Kind.LORA, family=_base(tensors, smaller), layout=layout, parts=parts, facts=facts)
    return None


def _base(tensors: Mapping[str, Stored], smaller: Sequence[str]) -> Family:
    """The family whose words are as wide as what the LoRA reads of them."""
    for pattern in _WORDS:
        for key in smaller:
            if pattern.match(key) and len(tensors[key].shape) > 1:
                return FAMILIES.get(tensors[key].shape[1], Family.UNKNOWN)
    return Family.UNKNOWN


class Named(NamedTuple):
    """Where the vectors of a textual inversion lie in a file, and the word that the file says is for them."""

    layout: Layout
    keys: tuple[str, ...]  # one for each text tower
    token: Plain


def inversion(listing: Listing) -> Named | None:
    """Where a file has the vectors of one textual inversion, by its names alone; None if they are of something else."""
    tensors = listing.tensors
    stars = tuple(key for key in tensors if key.startswith("string_to_param."))
    only = next(iter(tensors)) if len(tensors) == 1 else None
    if len(stars) == 1:
        return Named(Layout.A1111, stars, listing.values.get("name"))
    if tensors.keys() == {"clip_l", "clip_g"}:
        return Named(Layout.BARE, ("clip_l", "clip_g"), None)
    if only in ("", "emb_params"):
        return Named(Layout.BARE, (only,), None)
    if only is not None and not only.endswith(("weight", "bias")):
        return Named(Layout.DIFFUSERS, (only,), only)
    return None


def embedding(listing: Listing) -> Found | None:
    """The textual inversion that a whole file is, or None."""
    named = inversion(listing)
    if named is None:
        return None
    vectors = [_vectors(listing.tensors[key]) for key in named.keys]
    if None in vectors:
        return None
    count, width = vectors[0] or (0, 0)
    family = Family.SDXL if len(vectors) == 2 else FAMILIES.get(width, Family.UNKNOWN)
    facts: dict[str, Plain] = {"token": named.token, "vectors": count, "width": width}
    notes = () if isinstance(named.token, str) else (_UNNAMED,)
    return Found(kind=Kind.EMBEDDING, family=family, layout=named.layout, facts=facts, notes=notes)


def _vectors(stored: Stored) -> tuple[int, int] | None:
    """How many vectors a tensor is, and how wide, if it can be vectors of tokens."""
    count, width = (1, *stored.shape) if len(stored.shape) == 1 else stored.shape if len(stored.shape) == 2 else (0, 0)
    floating = stored.dtype[0] in "FBfb" and stored.dtype not in ("BOOL", "bool")
    return (count, width) if floating and 0 < count <= _MOST_VECTORS and 64 <= width <= 4096 else None
