"""Published weights, opened lazily: every name, dtype and shape at once, the tensors one at a time."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import safe_open
from torch import Tensor

from scorefield.weights import torch_pickle
from scorefield.weights.diffusers_folder import SourceError
from scorefield.weights.dtypes import DTYPES
from scorefield.weights.safetensors_span import Span, spans
from scorefield.weights.tensor_index import SAFETENSORS, Plain, Stored, TensorIndex, form_of, read, source_errors

Fetch = Callable[[str], Tensor]
Seen = Callable[[memoryview], None]


class Reader:
    """A file, a folder or the shards of an index; no tensor is loaded before it is asked for.

    `variant` ("fp16") chooses among a folder's files; `index` is what was read of them before. SourceError for what is
    missing or damaged. Threads may share it.
    """

    def __init__(self, path: Path, variant: str | None = None, index: TensorIndex | None = None) -> None:
        self.listing: TensorIndex = index or read(path, variant, pickled=torch_pickle.listing)
        self._fetch: dict[Path, Fetch] = {}
        self._spans: dict[Path, Mapping[str, Span]] = {}

    @property
    def tensors(self) -> Mapping[str, Stored]:
        """The dtype and shape of every tensor by name."""
        return self.listing.tensors

    @property
    def values(self) -> Mapping[str, Plain]:
        """The plain values that a pickle holds beside its tensors, such as global_step."""
        return self.listing.values

    def fetch(self, key: str) -> Tensor:
        """The tensor of that name in its stored dtype, mapped from the file; SourceError if there is none.

        It takes no memory until it is used, and must not be written to.
        """
        file = self._file(key)
        if file not in self._fetch:
            self._fetch[file] = _open(file)
        with source_errors(file):
            return self._fetch[file](key)

    def dtype(self, key: str) -> torch.dtype:
        """The dtype that a tensor is stored in; SourceError for a number format that PyTorch does not have."""
        name = self.tensors[key].dtype
        if self.listing.form == SAFETENSORS and name not in DTYPES:
            raise SourceError(f"{self.listing.path} has {key!r} in the number format {name}, which is not read here")
        found = DTYPES.get(name) or getattr(torch, name)
        return cast(torch.dtype, found)

    def place(self, key: str) -> tuple[Path, int]:
        """Where a tensor is: its file, and a number that rises along it, to sort by for reading from front to back."""
        file = self._file(key)
        if self.listing.form == SAFETENSORS:
            return file, self._spans_of(file)[key].start
        return file, self.fetch(key).data_ptr()

    def copy(self, key: str, target: Tensor, seen: Seen) -> None:
        """Copy a tensor into `target`, which has its shape and any dtype, memory layout and device.

        The file is read in blocks, so no second copy is in memory. `seen` is called with the stored bytes of each
        block, in order. SourceError for a file that has been cut off or changed meanwhile.
        """
        file = self._file(key)
        if self.listing.form == SAFETENSORS:
            span = self._spans_of(file)[key]
            with source_errors(file):
                span.copy(file, target, self.dtype(key), seen)
            return
        tensor = self.fetch(key).contiguous()
        seen(tensor.reshape(-1).view(torch.uint8).numpy().data)
        target.copy_(tensor)

    def _file(self, key: str) -> Path:
        file = self.listing.files.get(key)
        if file is None:
            raise SourceError(f"{self.listing.path} holds no tensor {key!r}")
        return file

    def _spans_of(self, file: Path) -> Mapping[str, Span]:
        if file not in self._spans:
            with source_errors(file):
                self._spans[file] = spans(file)
        return self._spans[file]


def _open(file: Path) -> Fetch:
    if form_of(file) == SAFETENSORS:
        with source_errors(file):
            return safe_open(file, framework="pt").get_tensor
    return torch_pickle.load(file).tensors.__getitem__
