"""Files of torch.save, read by torch's weights-only loader; a file that needs code is refused.

The published files of Stable Diffusion are training states, which name a few objects of the training program. Only for
these, the loader gets a stand-in that does nothing; see `_Inert`.
"""

import re
import struct
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from scorefield.errors import DamagedError, ScorefieldError, UnsupportedError
from scorefield.weights.model_files import TORCH
from scorefield.weights.tensor_index import Plain, Stored, TensorIndex

CONVERTER = "https://huggingface.co/spaces/safetensors/convert"
# What torch.load and zipfile raise for damaged files, in a trial of 12000: PyTorch has no error of its own for them.
_DAMAGED = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError,
    RuntimeError, TypeError, ValueError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
# The objects that the files of Stable Diffusion 1 and 2 name: the class that saved them, and its best score.
_BESIDE = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint", "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar", "numpy.dtype", "_codecs.encode",
)  # fmt: skip
_SHOWN = 100  # letters of a name
_GLOBALS = threading.Lock()  # torch.load has one set of allowed names for all threads


class _Inert:
    """The stand-in for an object of a training program: it ignores its arguments and its state."""

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def read_index(file: Path) -> TensorIndex:
    """Read the names, shapes and places of a file's tensors; if it has a `state_dict`, only of the tensors in that.

    DamagedError or UnsupportedError for a file that needs more than tensors and plain values, or whose tensors claim
    more numbers than it stores.
    """
    with _pickle_errors(file):
        zipped = zipfile.is_zipfile(file)
        if zipped:
            _check_archive(file)
        held, values = _tensors_and_values(file, _load(file, "meta"))
        if zipped and any(_offset(tensor) is None for tensor in held.values()):  # an older torch
            held, values = _tensors_and_values(file, _load(file, None, FakeTensorMode()))
        size = file.stat().st_size
        tensors = {name: _stored(file, name, tensor, size, zipped) for name, tensor in held.items()}
    return TensorIndex(path=file, form=TORCH, tensors=tensors, values=values)


def load(file: Path) -> Mapping[str, Tensor]:
    """All tensors of a file, read whole: for files of PyTorch before 1.6, whose tensors have no known place."""
    with _pickle_errors(file):
        return _tensors_and_values(file, _load(file, "cpu"))[0]


def _load(file: Path, place: str | None, mode: AbstractContextManager[object] | None = None) -> object:
    inert = [(_Inert, name) for name in _BESIDE]
    with _GLOBALS, warnings.catch_warnings(), torch.serialization.safe_globals([nn.ParameterDict, *inert]):
        warnings.simplefilter("ignore")  # torch's own, about the age of the file
        with mode or nullcontext(), file.open("rb") as stream:  # given a path, torch goes by its suffix
            return torch.load(stream, map_location=place, weights_only=True)


def _offset(tensor: Tensor) -> int | None:
    """Where the storage of a tensor without numbers begins in its file."""
    place: int | None = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    return place


def _stored(file: Path, name: str, tensor: Tensor, size: int, zipped: bool) -> Stored:
    """A tensor's place; DamagedError if its numbers overlap, as with a stride of 0, or are not in the file."""
    shape, strides, width = tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype.itemsize
    span = 1 + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    start = (_offset(tensor) or 0) + int(tensor.storage_offset()) * width if zipped else -1
    if tensor.numel() and (tensor.numel() > span or max(start, 0) + span * width > size):
        raise DamagedError(f"{file} is damaged: {name!r} of shape {shape} has more numbers than the file; get it again")
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Stored(dtype, shape, file, start, None if tensor.is_contiguous() else strides)


def _check_archive(file: Path) -> None:
    """Refuse a zip archive that torch.save did not write, or that has been changed since."""
    with zipfile.ZipFile(file) as archive:
        records = {record.filename.partition("/")[2]: record for record in archive.infolist()}
        if "constants.pkl" in records:
            raise UnsupportedError(
                f"{file} is a TorchScript archive, a program with its weights, and code in a file is never run; take"
                " the same weights as safetensors (OpenAI's CLIP: model.safetensors of openai/clip-vit-base-patch32 or"
                " openai/clip-vit-large-patch14)"
            )
        if "data.pkl" not in records:
            raise UnsupportedError(
                f"{file} is a zip archive that torch.save did not write; unpack it and give the weights in it"
            )
        if any(record.compress_type != zipfile.ZIP_STORED for record in records.values()):
            raise DamagedError(f"{file} is compressed, which torch.save never does; get it as it was published")
        pickle = records["data.pkl"]
        if pickle.CRC:  # 0 where torch.save left it out
            archive.read(pickle)  # BadZipFile if a byte of it has changed
            if "byteorder" in records and archive.read(records["byteorder"]).decode() != sys.byteorder:
                raise UnsupportedError(f"{file} was saved on a machine with another byte order; take it as safetensors")


def _tensors_and_values(file: Path, root: object) -> tuple[dict[str, Tensor], dict[str, Plain]]:
    """The tensors of a file by name, with dots between nested names, and its plain values."""
    whole = root if isinstance(root, Mapping) else {}
    inner = whole.get("state_dict")
    tensors: dict[str, Tensor] = {}
    for name, tensor in _tensors("", inner if isinstance(inner, Mapping) else root, set()):
        if name in tensors:
            raise DamagedError(f"{file} holds two tensors named {name!r}")
        tensors[name] = tensor.detach()
    if not tensors:
        raise DamagedError(f"{file} holds no tensors")
    values = {str(name): value for name, value in whole.items() if isinstance(value, Plain)}
    "".join([*tensors, *values, *map(str, values.values())]).encode()  # UnicodeError for what is no text
    return tensors, values


def _tensors(name: str, held: object, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor below `held`; containers in `seen` are not entered again, as in a list that holds itself."""
    if isinstance(held, Tensor):
        yield name, held
        return
    if id(held) in seen:
        return
    seen.add(id(held))
    if isinstance(held, nn.ParameterDict):
        held = dict(held.named_parameters())
    elif isinstance(held, list | tuple):
        held = dict(enumerate(held))
    for key, value in held.items() if isinstance(held, Mapping) else ():
        yield from _tensors(f"{name}.{key}" if name else str(key), value, seen)


@contextmanager
def _pickle_errors(file: Path) -> Iterator[None]:
    """Turn the errors of reading a file of PyTorch into one line."""
    try:
        yield
    except ScorefieldError:
        raise
    except UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = named[1][:_SHOWN] if named else "more than tensors and plain values"
        raise UnsupportedError(
            f"{file} needs {what} to be loaded, and code in a file is never run; take it as safetensors, or have it"
            f" converted at {CONVERTER}"
        ) from None
    except _DAMAGED:
        raise DamagedError(f"{file} is damaged, cut off, or not a weights file of PyTorch; get it again") from None
