"""The names, dtypes and shapes of the tensors in files, without loading them; for safetensors without PyTorch too."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from scorefield.errors import DamagedError, MissingError
from scorefield.input_files import Json, file_errors, read_json
from scorefield.weights import model_files
from scorefield.weights.model_files import PIPELINE, SAFETENSORS, UNREAD

Plain = None | bool | int | float | str

_BUFFERS = ("position_ids", "attn_mask", "model_ema.decay", "model_ema.num_updates")
_WEIGHTLESS = re.compile(r"Tokenizer|Scheduler|FeatureExtractor|Processor")  # classes of parts


@dataclass(frozen=True, slots=True)
class Stored:
    """The dtype and shape of one tensor in a file, and where its numbers are."""

    dtype: str  # by the format's name for it: F16 in safetensors, float16 in a PyTorch file
    shape: tuple[int, ...]
    file: Path = field(default=Path(), compare=False)
    start: int = field(default=-1, compare=False)  # bytes from the start of the file; -1 if it can only be read whole
    strides: tuple[int, ...] | None = field(default=None, compare=False)  # None for contiguous rows

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def floating(self) -> bool:
        """Whether its numbers are floating point, in either format's names."""
        return self.dtype[0] in "FBfb" and self.dtype not in ("BOOL", "bool")


class Part(NamedTuple):
    """One network in a file: what its names begin with, and how large it is."""

    prefix: str
    tensors: int
    numbers: int  # parameters; buffers are not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorIndex:
    """The contents of a file of weights, or of shards: its tensors, metadata and plain values."""

    path: Path  # as it was given
    form: str  # SAFETENSORS or TORCH
    tensors: Mapping[str, Stored]
    metadata: Mapping[str, str] = field(default_factory=dict)  # of safetensors
    values: Mapping[str, Plain] = field(default_factory=dict)  # plain values in a pickle

    @property
    def files(self) -> list[Path]:
        """The files that hold the tensors, each once."""
        return sorted({one.file for one in self.tensors.values()})

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(file.stat().st_size for file in self.files)

    def part(self, prefix: str = "", but: str | None = None) -> Part:
        """The part with all tensors whose names begin with `prefix` but not with `but`."""
        names = [name for name in self.tensors if name.startswith(prefix) and not (but and name.startswith(but))]
        weights = (self.tensors[name] for name in names if not name.endswith(_BUFFERS))
        return Part(prefix=prefix, tensors=len(names), numbers=sum(one.numbers for one in weights if one.floating))


ReadIndex = Callable[[Path], TensorIndex]


def read_index(path: Path, variant: str | None = None, *, pickled: ReadIndex) -> TensorIndex:
    """Read the index of a file, of the weights in a folder, or of the shards that an index names.

    `pickled` reads a PyTorch file's, so that this module needs no PyTorch. MissingError, DamagedError or
    UnsupportedError for what cannot be read.
    """
    file = model_files.locate(path, variant)
    if model_files.is_index(file):
        return _sharded(path, file, pickled)
    return replace(_one_file(file, pickled), path=path)


def _one_file(file: Path, pickled: ReadIndex) -> TensorIndex:
    return _safetensors(file) if model_files.format_of(file) == SAFETENSORS else pickled(file)


def _safetensors(file: Path) -> TensorIndex:
    try:
        with file_errors(file), safe_open(file, framework="np") as opened:  # only the header is read, so numpy will do
            metadata: Mapping[str, str] = opened.metadata() or {}
            slices = {key: opened.get_slice(key) for key in opened.offset_keys()}
            held = {key: (one.get_dtype(), tuple(one.get_shape())) for key, one in slices.items()}
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ").partition("\n")[0][:120]
        raise DamagedError(f"{file} is damaged or not a safetensors file ({reason}); get it again") from None
    if not held:
        raise DamagedError(f"{file} holds no tensors")
    with file_errors(file), file.open("rb") as stream:
        place = 8 + int.from_bytes(stream.read(8), "little")
    tensors = {}
    for key, (dtype, shape) in held.items():  # in the order of the file, which has no gaps
        tensors[key] = Stored(dtype, shape, file, place)
        bits = re.search(r"\d+", dtype)  # per number, stated by the name: F16, I64, F8_E4M3, but not BOOL
        place += math.prod(shape) * (int(bits[0]) if bits else 8) // 8
    return TensorIndex(path=file, form=SAFETENSORS, tensors=tensors, metadata=metadata)


def _sharded(path: Path, index: Path, pickled: ReadIndex) -> TensorIndex:
    files = model_files.shards(index)
    parts = {file: _one_file(file, pickled) for file in sorted(set(files.values()))}
    for file, part in parts.items():
        wanted = {key for key, of in files.items() if of == file}
        if odd := sorted(wanted ^ part.tensors.keys()):
            what = "lacks" if odd[0] in wanted else "has, unlisted,"
            raise DamagedError(f"{index} does not match its shards: {file.name} {what} {odd[0]!r} ({len(odd)} such)")
    return TensorIndex(
        path=path,
        form=next(iter(parts.values())).form,
        tensors={key: parts[file].tensors[key] for key, file in files.items()},
        metadata={name: text for part in parts.values() for name, text in part.metadata.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusersFolder:
    """The folder of a diffusers pipeline: the parts that its model_index.json names, and which of them are there."""

    path: Path
    model_index: Mapping[str, Json]
    parts: Mapping[str, TensorIndex]  # those with weights
    missing: tuple[str, ...]  # named, needed, and not there
    scheduler: Mapping[str, Json] | None

    @property
    def name(self) -> str:
        """The class of the pipeline, such as StableDiffusionPipeline."""
        return str(self.model_index.get("_class_name", "pipeline"))


def read_folder(folder: Path, variant: str | None = None, *, pickled: ReadIndex) -> DiffusersFolder:
    """Read the indexes of a folder's parts: of `variant` for a part that has it, else of the plain file.

    A part that is not there is `missing`; errors as in `read_index` for one that cannot be read.
    """
    model_index = read_json(folder / PIPELINE)
    named = model_files.components(folder, model_index).items()
    needed = {name: kind for name, kind in named if kind is not None and name not in UNREAD}
    parts: dict[str, TensorIndex] = {}
    names: dict[str, list[str]] = {}  # of the files in each of the parts
    for name, kind in needed.items():
        if (folder / name).is_dir() and not _WEIGHTLESS.search(kind):
            with file_errors(folder / name):
                names[name] = [file.name for file in (folder / name).iterdir()]
            its_own = variant if variant and model_files.standard(names[name], variant) else None
            parts[name] = read_index(folder / name, its_own, pickled=pickled)
    if variant and parts and not any(model_files.standard(files, variant) for files in names.values()):
        there = [name for files in names.values() for name in files]
        raise MissingError(f"{folder} {model_files.no_variant(there, variant)}")
    config = folder / "scheduler" / "scheduler_config.json"
    return DiffusersFolder(
        path=folder,
        model_index=model_index,
        parts=parts,
        missing=tuple(name for name in needed if not (folder / name).is_dir()),
        scheduler=read_json(config) if config.exists() else None,
    )
