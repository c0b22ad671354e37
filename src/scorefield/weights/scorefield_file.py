"""Our own files of weights: safetensors in half precision, with a header that says what they are and how good."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield import atomic
from scorefield.errors import DamagedError, MachineError
from scorefield.input_files import Json
from scorefield.weights.checkpoint import Reader
from scorefield.weights.detect.identify import OWN

CHECKSUM = "crc32"  # the metadata entry with the checksum of everything in the file; OWN is the entry with our JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The record in a file: its kind, the network's configuration, how long it trained, how good it is."""

    kind: str  # autoencoder, clip, generator, judge
    config: Mapping[str, Json]
    step: int = 0
    samples: int = 0  # pictures seen in training
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = {"kind": str, "config": Mapping, "step": int, "samples": int, "figures": Mapping, "notes": Mapping}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is not a {kind.__name__}")
        if odd := [name for name, value in self.figures.items() if not isinstance(value, (int, float))]:
            raise TypeError(f"figure {odd[0]} is not a number")

    def text(self) -> str:
        """The JSON that the file holds."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, sort_keys=True)


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors in float16, contiguous, on the CPU; DamagedError if a value does not fit."""
    out = {}
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        if value.is_floating_point():
            value = value.half()
            if not value.isfinite().all():
                raise DamagedError(f"tensor {name} holds values that do not fit float16; the training went wrong")
        out[name] = value
    return out


def save(path: Path, tensors: Mapping[str, Tensor], header: Header) -> Path:
    """Write a file whole or not at all, floating tensors in float16.

    DamagedError if a value does not fit float16, MachineError if the disk is full.
    """
    kept = half(tensors)
    metadata = {OWN: header.text(), CHECKSUM: _checksum(header.text(), kept)}
    try:
        with atomic.replacing(path) as part:
            save_file(kept, part, metadata=metadata)
            part.chmod(0o644)  # safetensors lets only the owner read it
    except SafetensorError as error:
        raise MachineError(f"cannot write {path} ({error}); nothing was kept") from None
    return path


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    crc = zlib.crc32(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        crc = zlib.crc32(f"{name} {value.dtype} {list(value.shape)}".encode(), crc)
        crc = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def read_header(path: Path) -> Header:
    """Read only the header; MissingError if there is no such file, DamagedError if it is damaged or not ours."""
    return _header(Reader(path))


def load(path: Path, kind: str) -> tuple[dict[str, Tensor], Header]:
    """Read every tensor of a file of `kind`, as stored, and its header; DamagedError if any byte of it is damaged."""
    reader = Reader(path)
    header, metadata = _header(reader), reader.index.metadata
    if header.kind != kind:
        raise DamagedError(f"{path} holds a {header.kind}, not a {kind}")
    tensors = {name: reader.fetch(name) for name in reader.tensors}
    if CHECKSUM in metadata and metadata[CHECKSUM] != _checksum(metadata[OWN], tensors):  # the first files have none
        raise DamagedError(f"{path} is damaged (its checksum is wrong); get it again")
    return tensors, header


def _header(reader: Reader) -> Header:
    path, metadata = reader.index.path, reader.index.metadata
    if OWN not in metadata:
        raise DamagedError(f"{path} has no scorefield header; it is not one of our own files")
    if metadata.keys() - {OWN, CHECKSUM}:
        raise DamagedError(f"{path} is damaged (its header has entries that are not ours); get it again")
    try:
        return Header(**json.loads(metadata[OWN]))
    except (TypeError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path} has a scorefield header that cannot be read ({error}); get it again") from None


def fill(module: nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype, path: Path) -> None:
    """Assign every tensor to `module` in `dtype`; DamagedError names keys that are missing, unknown or misshapen."""
    wanted = module.state_dict()
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    odd = sorted(name for name in wanted.keys() & tensors.keys() if _form(wanted[name]) != _form(tensors[name]))
    if missing or unknown or odd:
        problems = {"missing": missing, "unknown": unknown, "of another shape or type": odd}
        listed = "; ".join(f"{what}: {', '.join(names[:4])}" for what, names in problems.items() if names)
        raise DamagedError(f"{path} does not fit its own configuration: {listed}")
    cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    module.load_state_dict(cast, assign=True)


def _form(tensor: Tensor) -> tuple[torch.Size, bool]:
    return tensor.shape, tensor.is_floating_point()
