"""A LoRA's scale by its settings, if no tensor holds it: diffusers writes them in the header, PEFT in another file."""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from scorefield.errors import DamagedError
from scorefield.input_files import Json, parse_json, read_json
from scorefield.weights.tensor_index import TensorIndex

Settings = Mapping[str, Json]

_HEADER = "lora_adapter_metadata"  # JSON in the header of safetensors, every name behind that of its part
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model"
_LARGEST = 1e30  # an alpha must be below it, which NaN is not
# PEFT's patterns are regular expressions. Names, dots, classes, two groups and two repetitions are understood: more, or
# a repeated group, can make a match take years.
_FEW = r"(?!(.*[*+?]){3})(?!(.*\(){3})"
_PATTERN = re.compile(_FEW + r"(\\[.dw]|[\w.^$|()-]|\[[\w-]+\]|(?<=[\w.\]])[*+?](?![*+?])){1,200}")


class SettingsError(ValueError):
    """Settings from which no scale follows; the message says which."""


def settings_file(index: TensorIndex) -> Path | None:
    """The settings file of PEFT weights, if they have one."""
    weights = next(iter(index.files.values()))
    file = weights.parent / _CONFIG
    return file if weights.name.startswith(_WEIGHTS) and file.exists() else None


def read_settings(index: TensorIndex) -> Settings:
    """Read the settings of a LoRA, empty if it has none; DamagedError if they cannot be read."""
    if text := index.metadata.get(_HEADER):
        try:
            value = parse_json(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise DamagedError(f"{index.path} has settings ({_HEADER}) that cannot be read; get it again")
        return value
    file = settings_file(index)
    return read_json(file) if file else {}


def of_part(settings: Settings, part: str) -> Settings:
    """The settings of one part of a model, out of those of a file, which may name parts or not."""
    mine = {name.removeprefix(f"{part}."): value for name, value in settings.items() if name.startswith(f"{part}.")}
    return mine or settings


def scale(settings: Settings, layer: str, rank: int) -> float:
    """The factor of a layer's delta by its part's settings: alpha / rank (Hu et al. 2021), or 1 without an alpha.

    With `use_rslora` it is alpha / sqrt(rank) (Kalajdzievski 2023). The first `alpha_pattern` that matches
    counts, as in `peft.utils.other.get_pattern_key`. SettingsError for an alpha that is not a number.
    """
    patterns, general = settings.get("alpha_pattern"), settings.get("lora_alpha")
    named = patterns.items() if isinstance(patterns, dict) else ()
    alpha = next((value for pattern, value in named if _compiled(pattern).match(layer)), general)
    if alpha is None:
        return 1.0
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < _LARGEST:
        raise SettingsError(f"its settings give it the alpha {alpha!r}, which is not a number")
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") is True else rank)


@lru_cache(4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        if _PATTERN.fullmatch(pattern):
            return re.compile(rf"(.*\.)?({pattern})$")
    except re.error:
        pass
    raise SettingsError(f"its settings have an alpha for the layers {pattern!r}; this pattern is not understood")
