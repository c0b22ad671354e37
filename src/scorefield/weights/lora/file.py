"""A LoRA: a file that adds a delta to the weights of many layers, in kohya's layout, PEFT's or diffusers' older one.

`lora.keys` reads the names of its tensors, `lora.targets` says which weight of ours a layer means, and `lora.delta`
computes what its tensors add.
"""

import hashlib
from pathlib import Path

from torch import Tensor

from scorefield.weights.detect import lora_shapes
from scorefield.weights.detect.identity import Family
from scorefield.weights.diffusers_folder import SourceError
from scorefield.weights.lora.delta import MisfitError, added, linear_shape, weight_shape
from scorefield.weights.lora.keys import Role, other_product, parse_key
from scorefield.weights.lora.settings import Settings, SettingsError, beside, scale, settings
from scorefield.weights.reader import Reader


class Lora:
    """The LoRA in a file, or in a folder of PEFT's.

    SourceError for one that is damaged, for another file, and for LoHa, LoKr and OFT, which are other products.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.source = path, Reader(path)
        self.found = lora_shapes.lora(self.source.listing)
        self.settings: Settings = settings(self.source.listing)
        self.layers: dict[str, dict[Role, str]] = {}  # the keys of each layer's tensors
        self.unknown: list[str] = []  # keys that are of no delta
        for key in self.source.tensors:
            self._place(key)
        for name, keys in list(self.layers.items()):
            halves = keys.keys() & {"down", "up"}
            if len(halves) == 1:
                raise SourceError(f"{path} has only the {halves.pop()} half of {name}; get it again")
            if not halves:
                self.unknown += self.layers.pop(name).values()
        if not self.layers:
            raise SourceError(f"{path} is no LoRA: `scorefield inspect` tells what it is")

    @property
    def sha256(self) -> str:
        """The hash of its file, as sha256sum tells it; of a folder that of its files one after the other."""
        config, digest = beside(self.source.listing), hashlib.sha256()
        for file in (*sorted(set(self.source.listing.files.values())), *([config] if config else [])):
            with file.open("rb") as stream:
                hashlib.file_digest(stream, lambda: digest)
        return digest.hexdigest()

    @property
    def family(self) -> Family:
        """The family of models that it is for, UNKNOWN if nothing tells it."""
        return self.found.family if self.found else Family.UNKNOWN

    @property
    def intended_for(self) -> str:
        """The models that it is for, in words."""
        if self.family is not Family.UNKNOWN:
            return str(self.family)
        return (self.found and self.found.resembles) or "another model"

    def delta(self, layer: str, part: str, weight: Tensor) -> Tensor:
        """What a layer adds to the `weight` (out, in, ...) of `part` at scale 1: float32, in its shape, on its device.

        SourceError if the layer is for a weight of another shape, or holds numbers that are not finite.
        """
        tensors = {role: self._numbers(key).to(weight.device) for role, key in self.layers[layer].items()}
        try:
            wanted, rank = weight_shape(tensors), len(tensors["down"])
            alpha = tensors.get("alpha")
            own_scale = scale(self.settings, part, layer, rank) if alpha is None else alpha.item() / rank
        except (MisfitError, SettingsError) as error:
            raise SourceError(f"{self.path}: {layer}: {error}") from None
        if wanted != linear_shape(weight):
            raise SourceError(
                f"{self.path}: {layer} is for a weight of shape {wanted}, where this model has "
                f"{linear_shape(weight)}: it is a LoRA for {self.intended_for}"
            )
        return added(tensors, own_scale, weight.float())

    def _place(self, name: str) -> None:
        if kind := other_product(name):
            raise SourceError(f"{self.path} is a {kind} of LyCORIS ({name}); only LoRA and LoCon can be used")
        key = parse_key(name)
        if key is None:
            self.unknown.append(name)
            return
        keys = self.layers.setdefault(key.layer, {})
        if key.role in keys:
            raise SourceError(f"{self.path} holds two of the same for one layer: {keys[key.role]} and {name}")
        keys[key.role] = name

    def _numbers(self, key: str) -> Tensor:
        tensor = self.source.fetch(key)
        if not tensor.is_floating_point():
            raise SourceError(f"{self.path}: {key} is of {tensor.dtype}, where a LoRA has numbers with a point")
        if not (numbers := tensor.float()).isfinite().all():
            raise SourceError(f"{self.path}: {key} holds a number that is not finite; it was spoilt in training")
        return numbers
