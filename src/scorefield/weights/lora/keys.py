"""How LoRA files name their tensors: by the layer, and by the tensor's role in its delta. Needs no PyTorch."""

import re
from typing import Literal, NamedTuple, cast

from scorefield.weights.detect.identity import Layout

# The delta is scale * up @ down, with down (rank, in, ...) and up (out, rank, ...); in LoCon's convolutions
# mid (rank, rank, height, width) comes between them. The scale is alpha / rank. The last two are the norms that DoRA
# gives to the weight with its delta: LyCORIS's dora_scale to rows (out, 1, ...) or columns (1, in, ...), PEFT's
# lora_magnitude_vector to rows.
Role = Literal["down", "up", "mid", "alpha", "dora_scale", "lora_magnitude_vector"]
NORMS: tuple[Role, ...] = ("dora_scale", "lora_magnitude_vector")

_KEY = re.compile(
    r"(?P<layer>.+?)(?:"
    r"[._]lora(?:_linear_layer)?(?P<style>[._])(?P<half>down|up|mid|A|B)(?:\.\w+)?\.weight"  # PEFT may name an adapter
    r"|\.(?P<alpha>alpha)"
    r"|[._](?P<norms>dora_scale|lora_magnitude_vector)(?:\.\w+){0,2})"
)
_HALVES = {"A": "down", "B": "up"}  # in PEFT's words
_OTHER = re.compile(r".+\.(?:(?P<LoHa>hada_)|(?P<LoKr>lokr_)|(?P<OFT>oft_))\w+")


class Key(NamedTuple):
    """The parts of a tensor's name."""

    layer: str
    role: Role
    layout: Layout


def parse_key(name: str) -> Key | None:
    """Take the name of a tensor apart; None if it belongs to no delta."""
    match = _KEY.fullmatch(name)
    if match is None:
        return None
    half, layer = match["half"], match["layer"].removeprefix("base_model.model.").replace(".processor.", ".")
    layout = Layout.PEFT if half in _HALVES else Layout.OLD_DIFFUSERS if match["style"] == "." else Layout.KOHYA
    return Key(layer, cast(Role, _HALVES.get(half, half) or match["alpha"] or match["norms"]), layout)


def plain(layer: str) -> str:
    """A layer's name with underscores for its dots: exports mix both, even within one file."""
    return layer.replace(".", "_")


def other_product(name: str) -> str | None:
    """LoHa, LoKr or OFT, if by its name a tensor belongs to one of these, which are other products than a LoRA's."""
    match = _OTHER.fullmatch(name)
    return match and match.lastgroup
