"""Files of torch.save, read by torch's loader that runs no code; a file that needs code is refused.

The published files of Stable Diffusion are states of a training program, and beside their weights name a few of its
objects. In place of these, and of no others, the loader gets a stand-in that does nothing; see `_Inert`.
"""

import re
import struct
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scorefield.weights.diffusers_folder import SourceError
from scorefield.weights.tensor_index import TORCH, Plain, Stored, TensorIndex

CONVERTER = "https://huggingface.co/spaces/safetensors/convert"
# What torch.load and zipfile say of damaged files, in a trial of 12000: PyTorch has no error of its own for them.
_DAMAGED = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError,
    RuntimeError, TypeError, ValueError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


# All that the files of Stable Diffusion 1 and 2 name besides tensors: the class that saved them, and its best score.
_BESIDE = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
)
_GLOBALS = threading.Lock()  # torch.load has one set of allowed names for all threads


class _Inert:
    """The stand-in for an object beside the weights: it ignores whatever the file gives it."""

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class Held(NamedTuple):
    """The tensors of a file by name, where nested names are joined by dots, and its plain values."""

    tensors: dict[str, Tensor]
    values: dict[str, Plain]


def listing(file: Path) -> TensorIndex:
    """The listing of a file of PyTorch; SourceError if it is damaged or needs more than tensors and plain values."""
    held = load(file, data=False)
    tensors = {name: _stored(tensor) for name, tensor in held.tensors.items()}
    return TensorIndex(path=file, form=TORCH, tensors=tensors, files=dict.fromkeys(tensors, file), values=held.values)


def _stored(tensor: Tensor) -> Stored:
    return Stored(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def load(file: Path, *, data: bool = True) -> Held:
    """The tensors of a file, mapped from the disk and not copied; if it has a `state_dict`, only the tensors of that.

    A file of PyTorch before 1.6 cannot be mapped, and is read whole; without `data`, only for names and shapes.
    """
    with _source_errors(file):
        zipped = zipfile.is_zipfile(file)
        if zipped:
            _check(file)
        inert = [(_Inert, name) for name in _BESIDE]
        with _GLOBALS, warnings.catch_warnings(), torch.serialization.safe_globals([nn.ParameterDict, *inert]):
            warnings.simplefilter("ignore")  # torch's own, about the age of the file
            where = "cpu" if zipped or data else "meta"
            root = torch.load(file, map_location=where, weights_only=True, mmap=zipped)
        return _held(file, root)


def _check(file: Path) -> None:
    """SourceError if a zip archive is not one of torch.save, or has been changed since."""
    with zipfile.ZipFile(file) as archive:
        records = {record.filename.partition("/")[2]: record for record in archive.infolist()}
        if "constants.pkl" in records:
            raise SourceError(
                f"{file} is a TorchScript archive, a program with its weights, and code in a file is never run; take"
                " the same weights as safetensors (OpenAI's CLIP: model.safetensors of openai/clip-vit-base-patch32 or"
                " openai/clip-vit-large-patch14)"
            )
        if "data.pkl" not in records:
            raise SourceError(f"{file} is a zip archive, but none of torch.save")
        if any(record.compress_type != zipfile.ZIP_STORED for record in records.values()):
            raise SourceError(f"{file} is compressed, which torch.save never does; get it as it was published")
        pickle = records["data.pkl"]
        if pickle.CRC:  # 0 where torch.save was told to leave it out
            archive.read(pickle)  # BadZipFile if a byte of it has changed


def _held(file: Path, root: object) -> Held:
    whole = root if isinstance(root, Mapping) else {}
    inner = whole.get("state_dict")
    tensors: dict[str, Tensor] = {}
    for name, tensor in _tensors("", inner if isinstance(inner, Mapping) else root, set()):
        if name in tensors:
            raise SourceError(f"{file} holds two tensors of the name {name!r}")
        tensors[name] = tensor.detach()
    if not tensors:
        raise SourceError(f"{file} holds no tensors")
    values = {str(name): value for name, value in whole.items() if isinstance(value, Plain)}
    "".join([*tensors, *values, *map(str, values.values())]).encode()  # UnicodeError for what is no text
    return Held(tensors, values)


def _tensors(name: str, held: object, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor below `held`; containers in `seen` are not entered again, as in a list that holds itself."""
    if isinstance(held, Tensor):
        yield name, held
        return
    if id(held) in seen:
        return
    seen.add(id(held))
    below: Iterator[tuple[object, object]] = iter(())
    if isinstance(held, nn.ParameterDict):
        below = held.named_parameters()
    elif isinstance(held, Mapping):
        below = iter(held.items())
    elif isinstance(held, list | tuple):
        below = enumerate(held)
    for key, value in below:
        yield from _tensors(f"{name}.{key}" if name else str(key), value, seen)


@contextmanager
def _source_errors(file: Path) -> Iterator[None]:
    """Turn the errors of reading a file of PyTorch into a SourceError of one line."""
    try:
        yield
    except SourceError:
        raise
    except UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = found[1] if found else "more than tensors and plain values"
        raise SourceError(
            f"{file} needs {what} to be loaded, and code in a file is never run; take it as safetensors, or have it"
            f" converted at {CONVERTER}"
        ) from None
    except _DAMAGED:
        raise SourceError(f"{file} is damaged, cut off, or no weights file of PyTorch; get it again") from None
