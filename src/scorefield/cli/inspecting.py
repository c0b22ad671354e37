"""scorefield inspect: what a picture or a weights file says of itself. Nothing in the file is run."""

import json
import re
import struct
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import click

from scorefield.cli.common import format_option, show
from scorefield.files.header import Header, HeaderError, TensorInfo, read_header
from scorefield.files.picture import History, NoPictureError, PictureError, read

_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"
_MOST_ROWS = 40
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # what a terminal would obey
# What torch.load says of damaged files, in a trial of 12000: it has no error of its own for them.
_DAMAGED = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError,
    TypeError, ValueError, struct.error,
)  # fmt: skip


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@format_option
def command(file: Path, form: str) -> None:
    """Show what FILE says of itself: how a picture was made, or which tensors a weights file holds."""
    with file.open("rb") as stream:
        start = stream.read(9)
    try:
        if start[8:] == b"{" or file.suffix == ".safetensors":
            told, lines = _weights("safetensors", read_header(file))
        elif start.startswith((_ZIP, _PICKLE)):
            told, lines = _weights("torch", Header({}, _pickled(file)))
        else:
            told, lines = _picture(read(file)[1])
    except NoPictureError:
        raise click.ClickException(f"{file} is neither a picture nor a weights file that can be read") from None
    except (PictureError, HeaderError) as error:
        raise click.ClickException(str(error)) from None
    plain = (_CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line) for line in lines)
    show({"file": str(file)} | told, form, "\n".join([str(file), *plain]))


def _picture(history: History) -> tuple[dict[str, object], Iterator[str]]:
    records = {
        "scorefield": history.ours,
        "a1111": history.a1111._asdict() if history.a1111 else None,
        "comfyui": history.comfyui,
        "invokeai": history.invokeai,
    }
    given = {name: record for name, record in records.items() if record}
    size = {"format": history.format, "width": history.width, "height": history.height}

    def lines() -> Iterator[str]:
        yield f"{history.format} picture, {history.width} x {history.height}"
        if not given:
            yield "it says nothing of its making"
        for name, record in given.items():
            yield f"\n{name}"
            yield from _rows(record)

    return {"kind": "picture"} | size | given, lines()


def _weights(kind: str, header: Header) -> tuple[dict[str, object], Iterator[str]]:
    numbers = sum(info.numbers for info in header.tensors.values())
    tensors = {name: {"dtype": info.dtype, "shape": list(info.shape)} for name, info in header.tensors.items()}

    def lines() -> Iterator[str]:
        dtypes = Counter(info.dtype for info in header.tensors.values())
        counted = ", ".join(f"{number} {dtype}" for dtype, number in dtypes.most_common())
        many = "1 tensor" if len(tensors) == 1 else f"{len(tensors)} tensors"
        yield f"{kind} file, {many} ({counted or 'none'}), {numbers:,} numbers"
        if header.metadata:
            yield "\nmetadata"
            yield from _rows(header.metadata)
        yield "\ntensors"
        for name, info in list(header.tensors.items())[:_MOST_ROWS]:
            yield f"  {name or '(the whole file)'}  {info.dtype}  {' x '.join(map(str, info.shape)) or 'scalar'}"
        if len(tensors) > _MOST_ROWS:
            yield f"  ... and {len(tensors) - _MOST_ROWS} more; --format json lists all"

    return {"kind": kind, "metadata": header.metadata, "numbers": numbers, "tensors": tensors}, lines()


def _rows(record: Mapping[str, object]) -> Iterator[str]:
    for name, item in record.items():
        plain = item if isinstance(item, str) else json.dumps(_rounded(item), ensure_ascii=False)
        yield f"  {name}: {plain}".replace("\n", "\n    ")


def _rounded(item: object) -> object:
    """A record for reading: six digits of every number with a point."""
    if isinstance(item, float):
        return float(f"{item:.6g}")
    if isinstance(item, Mapping):
        return {name: _rounded(value) for name, value in item.items()}
    return [_rounded(value) for value in item] if isinstance(item, list) else item


def _pickled(file: Path) -> dict[str, TensorInfo]:
    from pickle import UnpicklingError

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about the age of the file
            return dict(_tensors("", torch.load(file, map_location="meta", weights_only=True)))
    except UnpicklingError:
        raise HeaderError(
            f"{file} holds more than tensors and plain values; code is never run, so convert it to safetensors"
        ) from None
    except _DAMAGED:
        raise HeaderError(f"{file} is damaged, cut off, or no weights file of PyTorch") from None


def _tensors(name: str, held: object) -> Iterator[tuple[str, TensorInfo]]:
    import torch

    below: Iterator[tuple[object, object]] = iter(())
    if isinstance(held, torch.Tensor):
        yield name, TensorInfo(str(held.dtype).removeprefix("torch."), tuple(held.shape))
    elif isinstance(held, Mapping):
        below = iter(held.items())
    elif isinstance(held, list | tuple):
        below = enumerate(held)
    yield from chain.from_iterable(_tensors(f"{name}.{key}" if name else str(key), value) for key, value in below)
