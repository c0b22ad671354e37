"""A LoRA: a file that adds deltas to the weights of many layers, in kohya's, PEFT's or diffusers' older layout.

The delta of a layer is the product of two narrow matrices (Hu et al. 2021).
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.input_files import file_errors
from scorefield.weights.checkpoint import Reader
from scorefield.weights.detect.adapter_shapes import identify_lora
from scorefield.weights.detect.identity import Family, LoraIdentity
from scorefield.weights.key_map import same_numbers
from scorefield.weights.lora import lora_keys
from scorefield.weights.lora.lora_keys import NORMS, MisfitError, Role

Shape = tuple[int, ...]


class LoraFile:
    """The LoRA in a file or in a PEFT folder. Its index is read once, immediately; its tensors when used.

    DamagedError for one that is damaged; UnsupportedError for another file, and for LoHa, LoKr and OFT, which are other
    products.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.reader = path, Reader(path)
        self.settings = lora_keys.read_settings(self.reader.index)
        self.identity: LoraIdentity | None = identify_lora(self.reader.index, self.settings)
        self.layers: dict[str, dict[Role, str]] = {}  # the keys of each layer's tensors, by its `plain` name
        self.names: dict[str, str] = {}  # the name of each layer as the file has it
        self.unknown: list[str] = []  # keys that belong to no delta
        for key in self.reader.tensors:
            self._place(key)
        for layer, keys in list(self.layers.items()):
            halves = keys.keys() & {"down", "up"}
            if len(halves) == 1:
                raise DamagedError(f"{path} has only the {halves.pop()} half of {self.names[layer]}; get it again")
            if not halves and "diff" not in keys:
                if lone := next((key for role, key in keys.items() if role != "alpha"), None):
                    raise DamagedError(f"{path} has {lone}, but no halves of that layer; get it again")
                self.unknown += self.layers.pop(layer).values()
        if not self.layers:
            raise UnsupportedError(f"{path} is not a LoRA: `scorefield inspect` says what it is")

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of its file, or of a folder's files concatenated. Computed once."""
        config, digest = lora_keys.settings_file(self.reader.index), hashlib.sha256()
        for file in (*self.reader.index.files, *([config] if config else [])):
            with file_errors(file), file.open("rb") as stream:
                hashlib.file_digest(stream, lambda: digest)
        return digest.hexdigest()

    @property
    def family(self) -> Family:
        """The family of models that it was trained for; UNKNOWN if the file does not show it."""
        return self.identity.family if self.identity else Family.UNKNOWN

    @property
    def intended_for(self) -> str:
        """The models that it was trained for, in words."""
        if self.family is not Family.UNKNOWN:
            return str(self.family)
        return (self.identity and self.identity.resembles) or "another model"

    def delta(self, layer: str, part: str, weight: Tensor) -> Tensor:
        """Compute what a layer adds to the `weight` (out, in, ...) of `part` at scale 1, in float32 on its device.

        DamagedError if its tensors do not fit together or hold numbers that are not finite, UnsupportedError if they
        are for a weight of another shape. Shapes are compared before anything is read.
        """
        keys, name = self.layers[layer], self.names[layer]
        shapes = {role: self.reader.tensors[key].shape for role, key in keys.items()}
        if "diff" in shapes:
            return self._whole_delta(layer, weight)
        settings = lora_keys.of_part(self.settings, part)
        if settings.get("use_dora") is True and not keys.keys() & set(NORMS):
            raise DamagedError(f"{self.path} is a DoRA, but has no norms for {name}; get it again")
        try:
            wanted, rank = _weight_shape(shapes), shapes["down"][0]
            own_scale = None if "alpha" in keys else lora_keys.scale(settings, name.removeprefix(f"{part}."), rank)
        except MisfitError as error:
            raise DamagedError(f"{self.path}: {name}: {error}") from None
        if wanted != (mine := _linear_shape(tuple(weight.shape))):
            raise self._misfit(name, wanted, mine)
        tensors = {role: self._numbers(role, key).to(weight.device) for role, key in keys.items()}
        return _added(tensors, tensors["alpha"].item() / rank if own_scale is None else own_scale, weight.float())

    def _whole_delta(self, layer: str, weight: Tensor) -> Tensor:
        """The delta of a layer that the file has as it is; DamagedError if it has halves of one, too."""
        keys, name = self.layers[layer], self.names[layer]
        if others := keys.keys() - {"diff", "alpha"}:
            raise DamagedError(f"{self.path} has both a whole delta and {', '.join(sorted(others))} for {name}")
        tensor = self._numbers("diff", keys["diff"])
        if not same_numbers(shape := tuple(tensor.shape), tuple(weight.shape)):
            raise self._misfit(name, shape, tuple(weight.shape))
        return tensor.view(weight.shape).to(weight.device)

    def _misfit(self, name: str, wanted: Shape, mine: Shape) -> UnsupportedError:
        return UnsupportedError(
            f"{self.path}: {name} is for a weight of shape {wanted}, where this model has {mine}: it is a LoRA for "
            f"{self.intended_for}"
        )

    def _place(self, name: str) -> None:
        if kind := lora_keys.other_product(name):
            raise UnsupportedError(f"{self.path} is a {kind} of LyCORIS ({name}); only LoRA and LoCon are supported")
        key = lora_keys.parse_key(name)
        if key is None:
            self.unknown.append(name)
            return
        layer = lora_keys.plain(key.layer)
        keys = self.layers.setdefault(layer, {})
        if key.role in ("down", "up", "diff") or layer not in self.names:
            self.names[layer] = key.layer
        if key.role in keys:
            raise DamagedError(f"{self.path} holds two of the same for one layer: {keys[key.role]} and {name}")
        keys[key.role] = name

    def _numbers(self, role: Role, key: str) -> Tensor:
        tensor = self.reader.fetch(key)
        if role != "alpha" and not tensor.is_floating_point():
            raise UnsupportedError(f"{self.path}: {key} holds {tensor.dtype}; LoRA weights must be floating point")
        if not (numbers := tensor.float()).isfinite().all():
            raise DamagedError(f"{self.path}: {key} holds a number that is not finite; its training went wrong")
        return numbers


def _weight_shape(shapes: Mapping[Role, Shape]) -> Shape:
    """The `_linear_shape` of the weight that tensors of these shapes are for; MisfitError if they do not fit."""
    down, up, mid = shapes["down"], shapes["up"], shapes.get("mid")
    listed = ", ".join(f"{role} {shape}" for role, shape in sorted(shapes.items()))
    if min(len(down), len(up)) < 2 or down[0] == 0 or set(shapes.get("alpha", ())) - {1}:
        raise MisfitError(f"these are not the tensors of a LoRA layer: {listed}")
    if mid is None:
        fits, kernel = up[1] == down[0] and len(_linear_shape(up)) == 2, _linear_shape(down)[2:]
    else:
        fits = len(_linear_shape(down)) == len(_linear_shape(up)) == 2 and len(mid) == 4 and mid[:2] == (up[1], down[0])
        kernel = _linear_shape(mid)[2:]
    wanted = up[0], down[1], *kernel
    if (norms := _norms(shapes)) is not None:
        fits = fits and torch.Size(norms[0]).numel() == wanted[norms[1]]
    if not fits:
        raise MisfitError(f"its tensors do not fit each other: {listed}")
    return wanted


def _linear_shape(shape: Shape) -> Shape:
    """The shape; for a 1 x 1 convolution, that of the equivalent linear layer."""
    return tuple(shape[:2]) if set(shape[2:]) <= {1} else tuple(shape)


def _added(tensors: Mapping[Role, Tensor], scale: float, weight: Tensor) -> Tensor:
    """Compute the delta of `weight`, which has the shape that the tensors are for; all in float32.

    DoRA also gives new norms to the rows, or to the columns, of the weight with its delta (Liu et al. 2024). The delta
    then includes that change.
    """
    down, up, mid = tensors["down"], tensors["up"], tensors.get("mid")
    if mid is None:
        product = up.flatten(1) @ down.flatten(1)
    else:
        product = torch.einsum("om,mnhw,ni->oihw", up.flatten(1), mid, down.flatten(1))
    change = scale * product.reshape(weight.shape)
    shapes = {role: tuple(tensor.shape) for role, tensor in tensors.items()}
    if (norms := _norms(shapes)) is None:
        return change
    _, axis, role = norms
    total = weight + change
    old: Tensor = torch.linalg.vector_norm(total, dim=[k for k in range(total.ndim) if k != axis], keepdim=True)
    return total * (tensors[role].reshape(old.shape) / old) - weight


def _norms(shapes: Mapping[Role, Shape]) -> tuple[Shape, int, Role] | None:
    """The shape of the norms that a DoRA gives, to rows (axis 0) or columns (axis 1), and their role; else None."""
    if "lora_magnitude_vector" in shapes:
        return shapes["lora_magnitude_vector"], 0, "lora_magnitude_vector"
    if "dora_scale" in shapes:
        return shapes["dora_scale"], int(shapes["dora_scale"][:1] == (1,)), "dora_scale"
    return None
