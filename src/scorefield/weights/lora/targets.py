"""The weights that a LoRA's layers change, by every name that files give a layer.

All names are made from the maps of published networks, so every weight there can be a target. kohya's name of a layer
is the published one with underscores for dots, behind `lora_unet_` or `lora_te_`; PEFT's is the published one itself.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from scorefield.weights.key_map import Entry

UNET, TEXT, TEXT_2 = "unet", "text_encoder", "text_encoder_2"  # the parts of a model, as diffusers calls them

_UNDERSCORED = {UNET: ("lora_unet_",), TEXT: ("lora_te_", "lora_te1_"), TEXT_2: ("lora_te2_",)}
_DOTTED = {UNET: ("", "unet.", "diffusion_model."), TEXT: ("", "text_encoder."), TEXT_2: ("text_encoder_2.",)}
_BEFORE_PEFT = {  # diffusers' names of that time, by their ends
    ".to_out.0": ".to_out",
    ".self_attn.q_proj": ".self_attn.to_q",
    ".self_attn.k_proj": ".self_attn.to_k",
    ".self_attn.v_proj": ".self_attn.to_v",
    ".self_attn.out_proj": ".self_attn.to_out",
}


class Target(NamedTuple):
    """A weight of ours, or where several published ones are stacked in it, the rows of one of them."""

    part: str  # UNET, TEXT or TEXT_2
    ours: str
    piece: int  # which of the stacked weights, from 0
    pieces: int  # how many are stacked; 1 for a weight that is not


def names(part: str, entries: Iterable[Entry]) -> Iterator[tuple[str, Target]]:
    """Every name that a LoRA may give to a layer of `part` whose map is `entries`, with its target."""
    for entry in entries:
        for piece, theirs in enumerate(entry.theirs):
            layer = theirs.removesuffix(".weight")
            if layer == theirs:
                continue  # a bias, or a table
            target = Target(part, entry.ours, piece, len(entry.theirs))
            for prefix in _UNDERSCORED[part]:
                yield prefix + layer.replace(".", "_"), target
            for prefix in _DOTTED[part]:
                yield from ((prefix + name, target) for name in (layer, *_before_peft(layer)))


def _before_peft(layer: str) -> Iterator[str]:
    return (layer.removesuffix(new) + old for new, old in _BEFORE_PEFT.items() if layer.endswith(new))
