"""A LoRA's scale by its settings, where no tensor has it: diffusers writes them in the header, PEFT in another file."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from scorefield.weights.diffusers_folder import Json, SourceError, read_json
from scorefield.weights.tensor_index import TensorIndex

_HEADER = "lora_adapter_metadata"  # JSON in the header of safetensors, every name behind that of its part
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model"

_LARGEST = 1e30  # an alpha must be below it: NaN is not, and an integer of any length can be compared

Settings = Mapping[str, Json]


class SettingsError(ValueError):
    """Settings from which no scale follows; the message says which."""


def settings(listing: TensorIndex) -> Settings:
    """The settings of a LoRA, empty where it has none; SourceError if they cannot be read."""
    if text := listing.metadata.get(_HEADER):
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise SourceError(f"{listing.path} has settings ({_HEADER}) that cannot be read; get it again")
        return told
    file = beside(listing)
    return read_json(file) if file else {}


def beside(listing: TensorIndex) -> Path | None:
    """PEFT's file of settings beside the weights, if they are PEFT's and it is there."""
    weights = next(iter(listing.files.values()))
    file = weights.parent / _CONFIG
    return file if weights.name.startswith(_WEIGHTS) and file.is_file() else None


def scale(told: Settings, part: str, layer: str, rank: int) -> float:
    """What the delta of a layer is multiplied with: alpha / rank (Hu et al. 2021), or 1 without an alpha.

    With `use_rslora` it is alpha / sqrt(rank) (Kalajdzievski 2023). SettingsError for an alpha that is no number.
    """
    at = f"{part}." if any(name.startswith(f"{part}.") for name in told) else ""
    alpha, patterns = told.get(f"{at}lora_alpha"), told.get(f"{at}alpha_pattern")
    for pattern, of_those in patterns.items() if isinstance(patterns, dict) else ():
        if not re.fullmatch(r"\^?[\w.]+\$?", pattern):
            raise SettingsError(f"its settings have an alpha for the layers {pattern!r}; only names are understood")
        if f".{layer}".endswith(f".{pattern.strip('^$')}"):
            alpha = of_those
    if alpha is None:
        return 1.0
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < _LARGEST:
        raise SettingsError(f"its settings give it the alpha {alpha!r}, which is no number")
    return alpha / (math.sqrt(rank) if told.get(f"{at}use_rslora") is True else rank)
