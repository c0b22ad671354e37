"""Our own files: safetensors in half precision, with what they are and how good in the header."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

KEY = "scorefield"  # the header's entry that holds our JSON
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class WeightsError(Exception):
    """A weights file that cannot be used; the message names the file, what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself: its kind, the network's configuration, how long it trained, how good it is."""

    kind: str  # autoencoder, clip, generator, judge
    config: Mapping[str, Json]
    step: int = 0
    samples: int = 0  # pictures seen in training
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Json] = field(default_factory=dict)

    def text(self) -> str:
        """The JSON that the file holds."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, sort_keys=True)


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors in float16, contiguous, on the CPU; WeightsError if a value does not fit."""
    out = {}
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        if value.is_floating_point():
            value = value.half()
            if not value.isfinite().all():
                raise WeightsError(f"tensor {name} holds values that float16 cannot; the training went wrong")
        out[name] = value
    return out


def save(path: Path, tensors: Mapping[str, Tensor], header: Header) -> Path:
    """Write a file atomically, floating tensors in float16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(half(tensors), name, metadata={KEY: header.text()})
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def read_header(path: Path) -> Header:
    """The header alone; WeightsError for a file that is missing, damaged or not ours."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file ({error}); get it again") from None
    if KEY not in metadata:
        raise WeightsError(f"{path} has no scorefield header; it is not one of our own files")
    try:
        return Header(**json.loads(metadata[KEY]))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} has a scorefield header that cannot be read ({error})") from None


def load(path: Path, kind: str) -> tuple[dict[str, Tensor], Header]:
    """Every tensor of a file of `kind`, as stored, and its header; WeightsError as `read_header`."""
    header = read_header(path)
    if header.kind != kind:
        raise WeightsError(f"{path} holds a {header.kind}, not a {kind}")
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118


def fill(module: nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype, path: Path) -> None:
    """Assign every tensor to `module` in `dtype`; WeightsError names keys that are missing, unknown or misshapen."""
    wanted = module.state_dict()
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    odd = [name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape]
    if missing or unknown or odd:
        told = {"missing": missing, "unknown": unknown, "of another shape": sorted(odd)}
        lines = "; ".join(f"{what}: {', '.join(names[:4])}" for what, names in told.items() if names)
        raise WeightsError(f"{path} does not fit its own configuration: {lines}")
    cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    module.load_state_dict(cast, assign=True)
