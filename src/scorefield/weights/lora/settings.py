"""A LoRA's scale by its settings, if no tensor holds it: diffusers writes them in the header, PEFT in another file."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scorefield.errors import DamagedError
from scorefield.weights.json_file import Json, parse_json, read_json
from scorefield.weights.tensor_index import TensorIndex

_HEADER = "lora_adapter_metadata"  # JSON in the header of safetensors, every name behind that of its part
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model"
_LARGEST = 1e30  # an alpha must be below it, which NaN is not
# PEFT's patterns are regular expressions. Names, dots, classes, alternatives and a few repetitions are understood; more
# repetitions, or those of a group, can take a matcher years.
_SAFE = re.compile(r"(?:\\[.dw]|[\w.^$|()-]|\[[\w-]+\]|(?<=[\w.\]])[*+?](?![*+?]))+")
_REPEATS = re.compile(r"[*+?]")
_MOST_REPEATS, _LONGEST = 2, 200


class SettingsError(ValueError):
    """Settings from which no scale follows; the message says which."""


def beside(index: TensorIndex) -> Path | None:
    """PEFT's file of settings in the folder of the weights, if these are PEFT's and it is there."""
    weights = next(iter(index.files.values()))
    file = weights.parent / _CONFIG
    return file if weights.name.startswith(_WEIGHTS) and file.exists() else None


def settings(index: TensorIndex) -> Mapping[str, Json]:
    """Read the settings of a LoRA, empty if it has none; DamagedError if they cannot be read."""
    if text := index.metadata.get(_HEADER):
        try:
            value = parse_json(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise DamagedError(f"{index.path} has settings ({_HEADER}) that cannot be read; get it again")
        return value
    file = beside(index)
    return read_json(file) if file else {}


@dataclass(frozen=True)
class PartSettings:
    """The settings for the layers of one part of a model."""

    values: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, part: str, values: Mapping[str, Json]) -> "PartSettings":
        """The settings of `part` out of those of a file, which may name parts or not."""
        mine = {name.removeprefix(f"{part}."): value for name, value in values.items() if name.startswith(f"{part}.")}
        return cls(mine or values)

    @property
    def dora(self) -> bool:
        """Whether every layer must have norms."""
        return self.values.get("use_dora") is True

    def scale(self, layer: str, rank: int) -> float:
        """The factor of a layer's delta: alpha / rank (Hu et al. 2021), or 1 without an alpha.

        With `use_rslora` it is alpha / sqrt(rank) (Kalajdzievski 2023). SettingsError for an alpha that is no number.
        """
        alpha = next(
            (value for pattern, value in self._patterns if pattern.match(layer)), self.values.get("lora_alpha")
        )
        if alpha is None:
            return 1.0
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < _LARGEST:
            raise SettingsError(f"its settings give it the alpha {alpha!r}, which is no number")
        return alpha / (math.sqrt(rank) if self.values.get("use_rslora") is True else rank)

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], Json]]:
        """The alphas for some layers: the first pattern that matches counts, as in peft.utils.other.get_pattern_key."""
        patterns = self.values.get("alpha_pattern")
        return [(_compiled(key), alpha) for key, alpha in patterns.items()] if isinstance(patterns, dict) else []


def _compiled(key: str) -> re.Pattern[str]:
    if len(key) > _LONGEST or not _SAFE.fullmatch(key) or len(_REPEATS.findall(key)) > _MOST_REPEATS:
        raise SettingsError(f"its settings have an alpha for the layers {key!r}; this pattern is not understood")
    try:
        return re.compile(rf"(.*\.)?({key})$")
    except re.error as error:
        raise SettingsError(
            f"its settings have an alpha for the layers {key!r}, which is no pattern ({error})"
        ) from None
