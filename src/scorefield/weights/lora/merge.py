"""LoRAs fitted to one model: which weight each of their layers changes, and the weights with all deltas.

All names of layers are made from the maps of published networks, so every weight there can be a target. kohya's name of
a layer is the published one with underscores for dots, PEFT's is the published one itself, each behind a prefix.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.weights.key_map import Entry
from scorefield.weights.lora.file import LoraFile
from scorefield.weights.lora.lora_keys import PREFIXES, TEXT, TEXT_2, plain

_BEFORE_PEFT = {  # diffusers' names of that time, by their ends
    ".to_out.0": ".to_out",
    ".self_attn.q_proj": ".self_attn.to_q",
    ".self_attn.k_proj": ".self_attn.to_k",
    ".self_attn.v_proj": ".self_attn.to_v",
    ".self_attn.out_proj": ".self_attn.to_out",
}


class Target(NamedTuple):
    """A weight of ours; if several published ones are stacked in it, the rows of one of them."""

    part: str  # UNET, TRANSFORMER, TEXT or TEXT_2
    ours: str
    piece: int  # which of the stacked weights, from 0
    pieces: int  # how many are stacked; 1 for a weight that is not


def names(part: str, entries: Iterable[Entry]) -> Iterator[tuple[str, Target]]:
    """Every name that a LoRA may give to a layer of `part` whose map is `entries`, with its target."""
    prefixes = PREFIXES[part] if part == TEXT_2 else ("", *PREFIXES[part])
    for entry in entries:
        for piece, theirs in enumerate(entry.theirs):
            layer = theirs.removesuffix(".weight")  # a bias or a table has its whole name
            target = Target(part, entry.ours, piece, len(entry.theirs))
            older = [layer.removesuffix(new) + old for new, old in _BEFORE_PEFT.items() if layer.endswith(new)]
            for prefix in prefixes:
                spelt = [plain(layer)] if prefix.endswith("_") else [layer, *older]
                yield from ((prefix + name, target) for name in spelt)


class Scales(NamedTuple):
    """The factors on a LoRA's deltas, for the U-Net and for the text encoders."""

    unet: float
    text: float


class Patch(NamedTuple):
    """One layer of a LoRA with its scale, and what it changes."""

    lora: LoraFile
    layer: str
    scale: float
    target: Target


class Stack:
    """LoRAs, each with its scales, for a model whose layers may have these `names`.

    Their order changes only the rounding. UnsupportedError for a LoRA that names no layer of the model.
    """

    def __init__(self, names: Mapping[str, Target], loras: Sequence[tuple[LoraFile, Scales]]) -> None:
        self.unused: dict[LoraFile, list[str]] = {}  # keys of each LoRA that belong to no layer of the model
        self._patches: dict[tuple[str, str], list[Patch]] = {}
        targets = {plain(name): target for name, target in names.items()}
        for lora, scales in loras:
            self.unused[lora] = lora.unknown.copy()
            self._fit(targets, lora, scales)

    def touched(self, part: str) -> tuple[str, ...]:
        """The names of the weights of `part` that the LoRAs have layers for."""
        return tuple(ours for other, ours in self._patches if other == part)

    def merged(self, part: str, ours: str, weight: Tensor) -> Tensor:
        """Our `weight` named `ours` with all deltas, in its dtype, computed in float32; itself if nothing changes it.

        UnsupportedError if a delta is for another shape or if the result is not finite.
        """
        patches = self._patches.get((part, ours), ())
        total = weight.float().clone() if patches else weight
        for lora, layer, scale, target in patches:
            delta = lora.delta(layer, part, weight.chunk(target.pieces)[target.piece])
            if scale:
                total.chunk(target.pieces)[target.piece].add_(delta, alpha=scale)
        if not any(patch.scale for patch in patches):
            return weight
        changed = total.to(weight.dtype)
        if not torch.isfinite(changed).all():
            paths = ", ".join(str(patch.lora.path) for patch in patches)
            raise UnsupportedError(f"{paths}: {ours} of the {part} is not finite with it; give a smaller scale")
        return changed

    def _fit(self, targets: Mapping[str, Target], lora: LoraFile, scales: Scales) -> None:
        mine: dict[Target, str] = {}
        for layer, keys in lora.layers.items():
            if (target := targets.get(layer)) is None:
                self.unused[lora] += keys.values()
                continue
            if (other := mine.setdefault(target, layer)) != layer:
                raise DamagedError(
                    f"{lora.path} has two names for one layer: {lora.names[other]} and {lora.names[layer]}"
                )
            scale = scales.text if target.part in (TEXT, TEXT_2) else scales.unet
            self._patches.setdefault((target.part, target.ours), []).append(Patch(lora, layer, scale, target))
        if not mine:
            shown = ", ".join(list(lora.names.values())[:3])
            raise UnsupportedError(
                f"{lora.path} names no layer of this model ({shown}, ...): it is a LoRA for {lora.intended_for}"
            )
