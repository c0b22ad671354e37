"""Several LoRAs fitted to one model: each weight with the deltas of all of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.weights.lora.file import LoraFile
from scorefield.weights.lora.keys import plain
from scorefield.weights.lora.targets import UNET, Target


class Scales(NamedTuple):
    """The factors of a LoRA's deltas: of those of the U-Net, and of those of the text towers."""

    unet: float
    text: float


class Patch(NamedTuple):
    """One layer of a LoRA with its scale, and the rows of our weight that it changes; see `Target`."""

    lora: LoraFile
    layer: str
    scale: float
    piece: int
    pieces: int


class Stack:
    """LoRAs, each with its scales, for a model whose layers may have these `names`.

    Their order changes nothing but the rounding. UnsupportedError for a LoRA that names no layer of the model.
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
        total, changed = weight.float().clone() if (part, ours) in self._patches else weight, False
        for lora, layer, scale, piece, pieces in self._patches.get((part, ours), ()):
            delta = lora.delta(layer, part, weight.chunk(pieces)[piece])
            if scale:
                total.chunk(pieces)[piece].add_(delta, alpha=scale)
                changed = True
        if not changed:
            return weight
        changed_weight = total.to(weight.dtype)
        if not torch.isfinite(changed_weight).all():
            paths = ", ".join(str(patch.lora.path) for patch in self._patches[part, ours])
            raise UnsupportedError(f"{paths}: {ours} of the {part} is not finite with it; give a smaller scale")
        return changed_weight

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
            scale = scales.unet if target.part == UNET else scales.text
            patch = Patch(lora, layer, scale, target.piece, target.pieces)
            self._patches.setdefault((target.part, target.ours), []).append(patch)
        if not mine:
            shown = ", ".join(list(lora.names.values())[:3])
            raise UnsupportedError(
                f"{lora.path} names no layer of this model ({shown}, ...): it is a LoRA for {lora.intended_for}"
            )
