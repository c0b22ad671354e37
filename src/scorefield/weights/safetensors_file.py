"""Safetensors files: their number formats, and writing one with a single tensor in memory at a time."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor that a file will hold."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return self.dtype.itemsize * math.prod(self.shape)


def saving(
    path: Path, planned: Mapping[str, Planned], tensors: Iterable[tuple[str, Tensor]], metadata: Mapping[str, str]
) -> Iterator[int]:
    """Write the file at `path`: the header first, then each of `tensors`, in any order; yields the bytes of each.

    In the file the widest numbers come first, so that every tensor starts at a multiple of its item size, as programs
    that map the file need. ValueError if a tensor is not as `planned`, or is missing: a bug of the caller.
    """
    starts, header = _header(planned, metadata)
    waited_for = set(planned)
    with path.open("wb") as stream:
        stream.write(header)
        for name, tensor in tensors:
            if Planned(tensor.dtype, tuple(tensor.shape)) != planned[name]:
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, which is not as planned")
            stream.seek(len(header) + starts[name])
            stream.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            waited_for.remove(name)
            yield planned[name].size
    if waited_for:
        raise ValueError(f"{len(waited_for)} tensors are missing, such as {min(waited_for)}")


def _header(planned: Mapping[str, Planned], metadata: Mapping[str, str]) -> tuple[Mapping[str, int], bytes]:
    """Where each tensor starts behind the header, and the bytes of the header."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    starts, end = {}, 0
    for name, one in sorted(planned.items(), key=lambda item: -item[1].dtype.itemsize):
        starts[name], end = end, end + one.size
        entries[name] = {"dtype": NAMES[one.dtype], "shape": one.shape, "data_offsets": [starts[name], end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return starts, len(text).to_bytes(8, "little") + text
