"""Weights of 8 bits with a scale beside each, as ComfyUI and others store them: a weight is its number times its scale.

The scale of `layer.weight` is `layer.scale_weight`, in newer files `layer.weight_scale`. Scales of a layer's input are
for arithmetic in 8 bits, which is not done here. Needs no PyTorch.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.input_files import Json, parse_json
from scorefield.printable import one_line
from scorefield.weights.tensor_index import TensorIndex

_SCALES = (".scale_weight", ".weight_scale")
_INPUTS = (".scale_input", ".input_scale")
_FORMAT = ".comfy_quant"  # JSON in bytes
_IN_HEADER = "_quantization_metadata"  # the same JSON for all layers
# The names of scales and of what describes them; `scaled_fp8` is an empty tensor.
SCALES = re.compile(rf"(?:{'|'.join(map(re.escape, (*_SCALES, *_INPUTS, _FORMAT)))}|(?:^|\.)scaled_fp8)$")
_FORMATS = ("float8_e4m3fn", "float8_e5m2")
_TAKE = "take the file with fp16, bf16 or fp8 weights"


class Scale(NamedTuple):
    """The names of a weight's scale and of the tensor that says its format, if there is one."""

    key: str
    format_key: str | None


def scales_of(index: TensorIndex) -> dict[str, Scale]:
    """The scale of every weight that has one.

    UnsupportedError for another storage than floating point with one scale a weight or one a row, DamagedError for a
    scale without its weight.
    """
    tensors = index.tensors
    _check_header(index)
    scales: dict[str, Scale] = {}
    for key in tensors:
        if (layer := _layer(key, _SCALES)) is None:
            continue
        weight = f"{layer}.weight"
        if weight in scales:
            raise DamagedError(f"{index.path} has two scales for {weight}: {scales[weight].key} and {key}")
        if weight not in tensors:
            raise DamagedError(f"{index.path} has the scale {key}, but no {weight}; get it again")
        _check(index, weight, key)
        scales[weight] = Scale(key, format_ if (format_ := layer + _FORMAT) in tensors else None)
    for key in tensors:
        layer = _layer(key, (*_INPUTS, _FORMAT))
        if layer is not None and f"{layer}.weight" not in scales:
            raise DamagedError(f"{index.path} has {key}, but no scale of {layer}.weight; get it again")
    return scales


def check_format(index: TensorIndex, key: str, text: bytes) -> None:
    """UnsupportedError unless the JSON `text` of a layer, under `key`, says that it is 8-bit floating point."""
    try:
        said = parse_json(text)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise DamagedError(f"{index.path}: {key} cannot be read; get it again")
    _check_said(index, key, said)


def _check_header(index: TensorIndex) -> None:
    """The same of the JSON that a header has for all layers."""
    if (text := index.metadata.get(_IN_HEADER)) is None:
        return
    try:
        header = parse_json(text)
    except ValueError:
        header = None
    layers = header.get("layers") if isinstance(header, dict) else None
    if not isinstance(layers, dict) or not all(isinstance(said, dict) for said in layers.values()):
        raise DamagedError(f"{index.path} has a header ({_IN_HEADER}) that cannot be read; get it again")
    for layer, said in layers.items():
        if isinstance(said, dict):
            _check_said(index, layer, said)


def _check_said(index: TensorIndex, key: str, said: Mapping[str, Json]) -> None:
    if (format_ := said.get("format")) not in _FORMATS or said.get("convrot"):
        named = one_line(str(format_))[:80] + (" with rotated weights" if said.get("convrot") else "")
        raise UnsupportedError(f"{index.path}: {key} is stored as {named}, which is not supported; {_TAKE}")


def _check(index: TensorIndex, weight: str, key: str) -> None:
    stored, scale = index.tensors[weight], index.tensors[key]
    if not stored.floating:
        raise UnsupportedError(
            f"{index.path}: {weight} is stored as {stored.dtype} with a scale, which is not supported; {_TAKE}"
        )
    rows = stored.shape[:1]
    one_a_row = (rows, (*rows, *[1] * (len(stored.shape) - 1)))
    if not scale.floating or not (scale.numbers == 1 or scale.shape in one_a_row):
        raise UnsupportedError(
            f"{index.path}: {key} is {scale.dtype} of shape {scale.shape}; only one scale a weight or a row, in "
            f"floating point, is supported; {_TAKE}"
        )


def _layer(key: str, ends: tuple[str, ...]) -> str | None:
    return next((key.removesuffix(end) for end in ends if key.endswith(end)), None)
