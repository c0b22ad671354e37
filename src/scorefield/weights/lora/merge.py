"""Several LoRAs fitted to one model: what each weight becomes with all of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.weights.diffusers_folder import SourceError
from scorefield.weights.lora.file import Lora
from scorefield.weights.lora.targets import UNET, Target


class Scales(NamedTuple):
    """What the deltas of a LoRA are multiplied with: those of the U-Net, and those of the text towers."""

    unet: float
    text: float


class Patch(NamedTuple):
    """One layer of a LoRA with its scale, and the rows of our weight that it changes; see `Target`."""

    lora: Lora
    layer: str
    scale: float
    piece: int
    pieces: int


class Stack:
    """LoRAs, each with its scales, for a model whose layers may have these `names`.

    Their order changes nothing but the rounding. SourceError for a LoRA that names no layer of the model.
    """

    def __init__(self, names: Mapping[str, Target], loras: Sequence[tuple[Lora, Scales]]) -> None:
        self.unused: dict[Lora, list[str]] = {}  # keys of each LoRA that are of no layer of the model
        self._patches: dict[tuple[str, str], list[Patch]] = {}
        for lora, scales in loras:
            self.unused[lora] = lora.unknown.copy()
            self._fit(names, lora, scales)

    def touched(self, part: str) -> tuple[str, ...]:
        """The names of the weights of `part` that the LoRAs have layers for."""
        return tuple(ours for other, ours in self._patches if other == part)

    def merged(self, part: str, ours: str, weight: Tensor) -> Tensor:
        """What our `weight` named `ours` becomes, in its dtype, computed in float32; itself if nothing changes it.

        SourceError if a delta is for another shape, or the result is not finite.
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
            raise SourceError(f"{paths}: {ours} of the {part} is not finite with it; give a smaller scale")
        return changed_weight

    def _fit(self, names: Mapping[str, Target], lora: Lora, scales: Scales) -> None:
        mine: dict[Target, str] = {}
        for layer, keys in lora.layers.items():
            if (target := names.get(layer)) is None:
                self.unused[lora] += keys.values()
                continue
            if (other := mine.setdefault(target, layer)) != layer:
                raise SourceError(f"{lora.path} has two names for one layer: {other} and {layer}")
            scale = scales.unet if target.part == UNET else scales.text
            patch = Patch(lora, layer, scale, target.piece, target.pieces)
            self._patches.setdefault((target.part, target.ours), []).append(patch)
        if not mine:
            shown = ", ".join(list(lora.layers)[:3])
            raise SourceError(
                f"{lora.path} names no layer of this model ({shown}, ...): it is a LoRA for {lora.intended_for}"
            )
