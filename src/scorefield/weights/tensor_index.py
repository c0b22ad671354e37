"""The names, dtypes and shapes of the tensors in a file, without loading them; for safetensors without PyTorch too."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

from scorefield.weights.diffusers_folder import SourceError, is_index, locate, shards

Plain = None | bool | int | float | str
SAFETENSORS, TORCH = "safetensors", "torch"
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


@dataclass(frozen=True, slots=True)
class Stored:
    """The dtype and shape of one tensor in a file."""

    dtype: str  # as the file's format calls it: F16 in safetensors, float16 in a file of PyTorch
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorIndex:
    """What a file of weights, or the shards that make one, holds: its tensors, and values beside them."""

    path: Path  # as it was given
    form: str  # SAFETENSORS or TORCH
    tensors: Mapping[str, Stored]
    files: Mapping[str, Path]  # the file that holds each tensor
    metadata: Mapping[str, str] = field(default_factory=dict)  # of safetensors
    values: Mapping[str, Plain] = field(default_factory=dict)  # plain values that a pickle holds beside its tensors

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(file.stat().st_size for file in set(self.files.values()))


ReadIndex = Callable[[Path], TensorIndex]


def read(path: Path, variant: str | None = None, *, pickled: ReadIndex) -> TensorIndex:
    """The listing of a file, of the weights in a folder, or of an index of shards.

    `pickled` lists files of PyTorch, so that this module needs no PyTorch. SourceError for what is missing or damaged.
    """
    file = locate(path, variant)
    if is_index(file):
        return _sharded(path, file, pickled)
    return replace(_file(file, pickled), path=path)


def form_of(file: Path) -> str:
    """SAFETENSORS or TORCH, by the first bytes of a file; SourceError if it is neither."""
    try:
        with file.open("rb") as stream:
            start = stream.read(9)
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror}") from None
    if not start:
        raise SourceError(f"{file} is empty; get it again")
    if start[8:] == b"{" or file.suffix == ".safetensors":
        return SAFETENSORS
    if start.startswith((_ZIP, _PICKLE)):
        return TORCH
    raise SourceError(f"{file} is no weights file that can be read: neither safetensors nor of torch.save")


@contextmanager
def source_errors(file: Path) -> Iterator[None]:
    """Turn the errors of reading a safetensors file into a SourceError of one line."""
    try:
        yield
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ").partition("\n")[0][:120]
        raise SourceError(f"{file} is damaged or no safetensors file ({reason}); get it again") from None
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror or error}") from None


def _file(file: Path, pickled: ReadIndex) -> TensorIndex:
    return _safetensors(file) if form_of(file) == SAFETENSORS else pickled(file)


def _safetensors(file: Path) -> TensorIndex:
    with source_errors(file), safe_open(file, framework="np") as opened:  # only the header is read, so numpy will do
        metadata: Mapping[str, str] = opened.metadata() or {}
        slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118
        tensors = {key: Stored(one.get_dtype(), tuple(one.get_shape())) for key, one in slices.items()}
    if not tensors:
        raise SourceError(f"{file} holds no tensors")
    files = dict.fromkeys(tensors, file)
    return TensorIndex(path=file, form=SAFETENSORS, tensors=tensors, files=files, metadata=metadata)


def _sharded(path: Path, index: Path, pickled: ReadIndex) -> TensorIndex:
    files = shards(index)
    parts = {file: _file(file, pickled) for file in sorted(set(files.values()))}
    for file, part in parts.items():
        wanted = {key for key, of in files.items() if of == file}
        if odd := sorted(wanted ^ part.tensors.keys()):
            what = "lacks" if odd[0] in wanted else "has, against the index,"
            raise SourceError(f"{index} is not of these shards: {file.name} {what} {odd[0]!r} ({len(odd)} such)")
    return TensorIndex(
        path=path,
        form=next(iter(parts.values())).form,
        tensors={key: parts[file].tensors[key] for key, file in files.items()},
        files=files,
        metadata={name: text for part in parts.values() for name, text in part.metadata.items()},
    )
