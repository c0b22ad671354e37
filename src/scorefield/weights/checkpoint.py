"""A model's files, opened and indexed once: a `Checkpoint` is all of them, a `Reader` gives the tensors of one.

Numbers are read in blocks, and no file is mapped, as slices of `safetensors.safe_open` would be. A mapped file that is
cut off meanwhile kills the process (SIGBUS), and mapped pages count as memory: loading Stable Diffusion 1 (2.1 GB of
float16, as bfloat16) then takes up to 3.7 GB instead of 2.3, in the same time.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.input_files import Json, file_errors, read_json
from scorefield.weights import torch_pickle
from scorefield.weights.detect.identify import identify_file, identify_folder
from scorefield.weights.detect.identity import AnyIdentity
from scorefield.weights.model_files import SAFETENSORS, is_diffusers_folder
from scorefield.weights.safetensors_file import DTYPES
from scorefield.weights.scaled_weights import SCALES, check_format, scales_of
from scorefield.weights.tensor_index import DiffusersFolder, Stored, TensorIndex, read_folder, read_index

R = TypeVar("R")

_BLOCK = 8 << 20  # bytes that each thread reads and copies at a time: more is not faster


class Checkpoint:
    """The file or folder at `path`; `variant` ("fp16") chooses among a folder's files.

    Everything is read on demand, and only once. MissingError or DamagedError for what cannot be read.
    """

    def __init__(self, path: Path, variant: str | None = None) -> None:
        self.path, self.variant = path, variant
        self._readers: dict[str | Path, Reader] = {}
        self._read: dict[tuple[str, object], Any] = {}

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is the folder of a diffusers pipeline."""
        return is_diffusers_folder(self.path)

    @cached_property
    def folder(self) -> DiffusersFolder:
        """The parts of a folder."""
        return read_folder(self.path, self.variant, pickled=torch_pickle.read_index)

    @cached_property
    def identity(self) -> AnyIdentity:
        """Its identity, by its names and shapes."""
        return identify_folder(self.folder) if self.is_folder else identify_file(self.reader().index)

    def reader(self, part: str = "") -> "Reader":
        """The weights of a part's folder, or of the one file."""
        if part not in self._readers:
            index = self.folder.parts.get(part) if part else None
            self._readers[part] = Reader(index or self.path / part, self.variant)
        return self._readers[part]

    def other(self, path: Path) -> "Reader":
        """The weights of a file or folder that belongs to it and is anywhere."""
        if path not in self._readers:
            self._readers[path] = Reader(path)
        return self._readers[path]

    def json(self, name: str) -> Mapping[str, Json]:
        """A JSON file of the folder, such as unet/config.json."""
        return self.read(name, read_json)

    def read(self, name: str, reading: Callable[[Path], R]) -> R:
        """The result of `reading` a file or folder in it, which happens once."""
        key = name, reading
        if key not in self._read:
            self._read[key] = reading(self.path / name)
        return cast(R, self._read[key])


class Reader:
    """A file, a folder or the shards of an index: its `index` is read immediately, tensors on demand.

    An index as `source` is not read again; with a path, `variant` ("fp16") chooses among a folder's files. Weights that
    are stored with a scale are multiplied by it, and the scales are not among its `tensors`. Errors as of `read_index`
    and `scales_of`. Threads may share it.
    """

    def __init__(self, source: Path | TensorIndex, variant: str | None = None) -> None:
        if not isinstance(source, TensorIndex):
            source = read_index(source, variant, pickled=torch_pickle.read_index)
        self.index = source
        self.tensors: Mapping[str, Stored] = {
            key: one for key, one in self.index.tensors.items() if not SCALES.search(key)
        }
        self._scales = scales_of(self.index) if len(self.tensors) < len(self.index.tensors) else {}  # by weight
        self._lock = threading.Lock()
        self._whole: dict[Path, Mapping[str, Tensor]] = {}  # files of PyTorch before 1.6, which are read whole

    def fetch(self, key: str) -> Tensor:
        """Read the tensor of that name, in its `dtype`; DamagedError if there is none."""
        tensor = torch.empty(self._stored(key).shape, dtype=self.dtype(key))
        self.copy(key, tensor, lambda _: None)
        return tensor

    def dtype(self, key: str) -> torch.dtype:
        """The dtype that a tensor is stored in, float32 for one that has a scale.

        UnsupportedError for a number format that PyTorch does not have.
        """
        return torch.float32 if key in self._scales else self._stored_dtype(key)

    def _stored_dtype(self, key: str) -> torch.dtype:
        name = self._stored(key).dtype
        if self.index.form == SAFETENSORS and name not in DTYPES:
            raise UnsupportedError(f"{self.index.path} has {key!r} in the number format {name}, which is not supported")
        return DTYPES.get(name) or cast(torch.dtype, getattr(torch, name))

    def place(self, key: str) -> tuple[Path, int]:
        """A tensor's file and its position there, to sort by for reading front to back."""
        stored = self._stored(key)
        return stored.file, stored.start

    def copy(self, key: str, target: Tensor, seen: Callable[[memoryview], None]) -> None:
        """Copy a tensor into `target` of any dtype, layout and device, whose shape may differ only by sides of 1.

        The file is read in blocks, so no second copy is in memory. `seen` is called with the stored bytes of each
        block, in order, before these with those of a scale. DamagedError for a file that has been cut off or changed
        meanwhile.
        """
        stored, scale = self._stored(key), self._scale(key)
        if scale is not None:
            seen(scale.numpy().data)
        if stored.start < 0 or stored.strides is not None:
            tensor = (self._old(stored.file)[key] if stored.start < 0 else self._strided(key)).contiguous()
            seen(tensor.reshape(-1).view(torch.uint8).numpy().data)
            target.view(stored.shape).copy_(tensor if scale is None else tensor.float() * scale)
            return
        dtype, shape = self._stored_dtype(key), stored.shape or (1,)
        row = dtype.itemsize * math.prod(shape[1:])
        rows, rest = max(1, _BLOCK // max(row, 1)), target.view(shape)
        first = 0
        for block in _blocks(stored.file, stored.start, min(rows, shape[0]) * row, shape[0] * row):
            seen(block.numpy().data)
            part = block.view(dtype).view(-1, *shape[1:])
            end = first + len(part)
            rest[first:end].copy_(part if scale is None else part.float() * scale[first:end])
            first = end

    def _scale(self, key: str) -> Tensor | None:
        """What a tensor's numbers are multiplied by, float32 (rows, 1, ...); None if it has no scale."""
        if key not in self._scales:
            return None
        scale, format_key = self._scales[key]
        if format_key is not None:
            check_format(self.index, format_key, self.fetch(format_key).numpy().tobytes())
        numbers = self.fetch(scale).float().flatten()
        if not numbers.isfinite().all():
            raise DamagedError(f"{self.index.path}: {scale} is not finite; get it again")
        shape = self._stored(key).shape or (1,)
        return numbers.expand(shape[0]).contiguous().view(-1, *[1] * (len(shape) - 1))

    def _strided(self, key: str) -> Tensor:
        """Read a tensor whose numbers are not in row order, or not contiguous, in its file."""
        stored, dtype = self._stored(key), self._stored_dtype(key)
        strides = stored.strides or ()
        span = 1 + sum((side - 1) * stride for side, stride in zip(stored.shape, strides, strict=True))
        size = span * dtype.itemsize if stored.numbers else 0
        (numbers,) = list(_blocks(stored.file, stored.start, size, size)) or [torch.empty(0, dtype=torch.uint8)]
        return numbers.view(dtype).as_strided(stored.shape, strides)

    def _stored(self, key: str) -> Stored:
        if key not in self.index.tensors:
            raise DamagedError(f"{self.index.path} holds no tensor {key!r}")
        return self.index.tensors[key]

    def release(self) -> None:
        """Free what had to be read whole; it is read again when it is needed again."""
        with self._lock:
            self._whole.clear()

    def _old(self, file: Path) -> Mapping[str, Tensor]:
        with self._lock:
            if file not in self._whole:
                self._whole[file] = torch_pickle.load(file)
            return self._whole[file]


def _blocks(file: Path, start: int, size: int, total: int) -> Iterator[Tensor]:
    """Yield `total` bytes of a file from `start`, `size` at a time, always in the same memory."""
    buffer = torch.empty(size, dtype=torch.uint8)
    with file_errors(file), file.open("rb", buffering=0) as stream:
        stream.seek(start)
        for done in range(0, total, size or 1):
            block = buffer[: min(size, total - done)]
            unread = block.numpy().data
            while unread:
                if not (count := stream.readinto(unread)):
                    raise DamagedError(f"{file} was cut off while it was read; get it again")
                unread = unread[count:]
            yield block
