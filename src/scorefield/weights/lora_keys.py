"""How LoRA files name their tensors: the layer, and what a tensor is to its delta. Without PyTorch, for inspection."""

import re
from typing import Literal, NamedTuple, cast

from scorefield.weights.found import Layout

# down (rank, in, ...) and up (out, rank, ...); between them, in LoCon's convolutions, mid (rank, rank, height, width);
# alpha, which over the rank is the scale; the norms that DoRA gives the weight with its delta: LyCORIS's dora_scale
# those of rows (out, 1, ...) or of columns (1, in, ...), PEFT's vector those of rows.
Role = Literal["down", "up", "mid", "alpha", "dora_scale", "lora_magnitude_vector"]

_KEY = re.compile(
    r"(?P<layer>.+?)(?:"
    r"[._]lora(?:_linear_layer)?(?P<style>[._])(?P<half>down|up|mid|A|B)(?:\.\w+)?\.weight"  # PEFT may name an adapter
    r"|\.(?P<alpha>alpha)"
    r"|\.(?P<norms>dora_scale|lora_magnitude_vector)(?:\.\w+){0,2})"
)
_HALVES = {"A": "down", "B": "up"}  # in PEFT's words
_OTHER = re.compile(r".+\.(?:(?P<LoHa>hada_)|(?P<LoKr>lokr_)|(?P<OFT>oft_))\w+")


class Key(NamedTuple):
    """A tensor's name, read."""

    layer: str
    role: Role
    layout: Layout


def key(name: str) -> Key | None:
    """What a tensor is by its name; None if it is of no delta."""
    found = _KEY.fullmatch(name)
    if found is None:
        return None
    half, layer = found["half"], found["layer"].removeprefix("base_model.model.").replace(".processor.", ".")
    layout = Layout.PEFT if half in _HALVES else Layout.OLD_DIFFUSERS if found["style"] == "." else Layout.KOHYA
    return Key(layer, cast(Role, _HALVES.get(half, half) or found["alpha"] or found["norms"]), layout)


def other(name: str) -> str | None:
    """The kind of product, not a LoRA's, that a tensor is of by its name: LoHa, LoKr or OFT."""
    found = _OTHER.fullmatch(name)
    return found and found.lastgroup
