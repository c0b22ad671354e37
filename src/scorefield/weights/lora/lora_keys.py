"""How LoRA files are laid out: the names of their tensors, and the settings of their scale. Needs no PyTorch."""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, cast

from scorefield.errors import DamagedError
from scorefield.input_files import Json, parse_json, read_json
from scorefield.weights.detect.identity import Layout
from scorefield.weights.tensor_index import TensorIndex

# The delta is scale * up @ down, with down (rank, in, ...) and up (out, rank, ...); in LoCon's convolutions
# mid (rank, rank, height, width) comes between them. The scale is alpha / rank. The last two are the norms that DoRA
# gives to the weight with its delta: LyCORIS's dora_scale to rows (out, 1, ...) or columns (1, in, ...), PEFT's
# lora_magnitude_vector to rows. A diff is a whole delta, which is not scaled.
Role = Literal["down", "up", "mid", "alpha", "dora_scale", "lora_magnitude_vector", "diff"]
NORMS: tuple[Role, ...] = ("dora_scale", "lora_magnitude_vector")

# The parts of a model, as diffusers calls them: a U-Net or a transformer, and text encoders.
UNET, TRANSFORMER, TEXT, TEXT_2 = "unet", "transformer", "text_encoder", "text_encoder_2"
PREFIXES: Mapping[str, tuple[str, ...]] = {  # of the layers of a part; behind kohya's, underscores stand for dots
    UNET: ("lora_unet_", "unet.", "diffusion_model."),
    TRANSFORMER: ("lora_unet_", "lora_transformer_", "transformer.", "diffusion_model."),
    TEXT: ("lora_te_", "lora_te1_", "text_encoder."),
    TEXT_2: ("lora_te2_", "text_encoder_2."),
}

_KEY = re.compile(
    r"(?P<layer>.+?)(?:"
    r"[._]lora(?:_linear_layer)?(?P<style>[._])(?P<half>down|up|mid|A|B)(?:\.\w+)?\.weight"  # PEFT may name an adapter
    r"|\.(?P<alpha>alpha)"
    r"|\.(?P<diff>diff(?:_[bm])?)"
    r"|[._](?P<norms>dora_scale|lora_magnitude_vector)(?:\.\w+){0,2})"
)
_HALVES = {"A": "down", "B": "up"}  # in PEFT's words
_DIFFS = {
    "diff": "",
    "diff_b": ".bias",
    "diff_m": ".modulation",
}  # the tensor of a layer that it is for: its weight, ...
_OTHER = re.compile(r".+\.(?:(?P<LoHa>hada_)|(?P<LoKr>lokr_)|(?P<OFT>oft_))\w+")


class Key(NamedTuple):
    """The parts of a tensor's name."""

    layer: str
    role: Role
    layout: Layout


def parse_key(name: str) -> Key | None:
    """Take the name of a tensor apart; None if it belongs to no delta."""
    match = _KEY.fullmatch(name)
    if match is None:
        return None
    half, layer = match["half"], match["layer"].removeprefix("base_model.model.").replace(".processor.", ".")
    if match["diff"]:
        return Key(layer + _DIFFS[match["diff"]], "diff", Layout.KOHYA)
    layout = Layout.PEFT if half in _HALVES else Layout.OLD_DIFFUSERS if match["style"] == "." else Layout.KOHYA
    return Key(layer, cast(Role, _HALVES.get(half, half) or match["alpha"] or match["norms"]), layout)


def plain(layer: str) -> str:
    """A layer's name with underscores for its dots: exports mix both, even within one file."""
    return layer.replace(".", "_")


def other_product(name: str) -> str | None:
    """LoHa, LoKr or OFT, if by its name a tensor belongs to one of these, which are other products than a LoRA's."""
    match = _OTHER.fullmatch(name)
    return match and match.lastgroup


# A scale that no tensor holds: diffusers writes it in the header, PEFT in another file.
Settings = Mapping[str, Json]

_HEADER = "lora_adapter_metadata"  # JSON in the header of safetensors, every name behind that of its part
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model"
_LARGEST = 1e30  # an alpha must be smaller, which NaN is not
# PEFT's patterns are regular expressions. Names, dots, classes, two groups and two repetitions are understood: more, or
# a repeated group, can make a match take years.
_FEW = r"(?!(.*[*+?]){3})(?!(.*\(){3})"
_PATTERN = re.compile(_FEW + r"(\\[.dw]|[\w.^$|()-]|\[[\w-]+\]|(?<=[\w.\]])[*+?](?![*+?])){1,200}")


class MisfitError(ValueError):
    """Tensors that do not fit each other, or settings from which no scale follows; the message says which."""


def settings_file(index: TensorIndex) -> Path | None:
    """The settings file of PEFT weights, if they have one."""
    weights = index.files[0]
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
    """The settings for one part of a model, from a file's, which may or may not name parts."""
    mine = {name.removeprefix(f"{part}."): value for name, value in settings.items() if name.startswith(f"{part}.")}
    return mine or settings


def scale(settings: Settings, layer: str, rank: int) -> float:
    """The factor of a layer's delta by its part's settings: alpha / rank (Hu et al. 2021), or 1 without an alpha.

    With `use_rslora` it is alpha / sqrt(rank) (Kalajdzievski 2023). The first `alpha_pattern` that matches
    counts, as in `peft.utils.other.get_pattern_key`. MisfitError for an alpha that is not a number.
    """
    patterns, general = settings.get("alpha_pattern"), settings.get("lora_alpha")
    named = patterns.items() if isinstance(patterns, dict) else ()
    alpha = next((value for pattern, value in named if _compiled(pattern).match(layer)), general)
    if alpha is None:
        return 1.0
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < _LARGEST:
        raise MisfitError(f"its settings give it the alpha {alpha!r}, which is not a number")
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") is True else rank)


@lru_cache(4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        if _PATTERN.fullmatch(pattern):
            return re.compile(rf"(.*\.)?({pattern})$")
    except re.error:
        pass
    raise MisfitError(f"its settings have an alpha for the layers {pattern!r}; this pattern is not understood")
