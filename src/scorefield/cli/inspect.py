"""scorefield inspect: describe a picture, a film or a weights file from its contents. Nothing in the file is run."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from scorefield.cli.common import format_option, show
from scorefield.cli.inspect_report import model_lines, model_record
from scorefield.errors import MissingError, ScorefieldError
from scorefield.files.open_picture import NoPictureError
from scorefield.files.picture import History, json_or_text, read_history
from scorefield.weights.detect.identify import identify_file, identify_folder
from scorefield.weights.model_files import PICKLES, is_diffusers_folder, is_index
from scorefield.weights.tensor_index import TensorIndex, read_folder
from scorefield.weights.tensor_index import read_index as read_weights_index

_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"
_MOST_ROWS, _MOST_LETTERS = 40, 2000
_RECORDS = ("scorefield", "a1111")  # shown one value per line; ComfyUI's graphs would be too long for that

Report = tuple[dict[str, object], Iterator[str]]  # as plain JSON, and as lines of text


@click.command("inspect")
@click.argument("file", metavar="FILE_OR_FOLDER", type=click.Path(path_type=Path, exists=True))
@format_option
def command(file: Path, form: str) -> None:
    """Show how a picture or film was made, or which model a file or folder of weights is."""
    try:
        record, lines = _report(file)
    except NoPictureError:
        raise click.ClickException(f"{file} is neither a readable picture nor a weights file") from None
    except ScorefieldError as error:
        raise click.ClickException(str(error)) from None
    show({"file": str(file)} | record, form, "\n".join([str(file), *lines]))


def _report(file: Path) -> Report:
    if is_diffusers_folder(file):
        return _pipeline(file)
    if not file.is_file() or is_index(file) or _is_weights(file):
        return _weights(read_weights_index(file, pickled=_pickled))
    return _picture(read_history(file))


def _is_weights(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(9)
    return start[8:] == b"{" or start.startswith((_ZIP, _PICKLE)) or file.suffix in (".safetensors", *PICKLES)


def _pickled(file: Path) -> TensorIndex:
    from scorefield.weights.torch_pickle import read_index  # PyTorch takes seconds to import

    return read_index(file)


def _picture(history: History) -> Report:
    records = {
        "scorefield": history.ours,
        "a1111": history.a1111._asdict() if history.a1111 else None,
        "comfyui": history.comfyui,
        "invokeai": history.invokeai,
    }
    present = {name: record for name, record in records.items() if record}
    size = {"format": history.format, "width": history.width, "height": history.height}
    kind = "film" if history.format == "MP4" or "frames_sha256" in (history.ours or {}) else "picture"

    def lines() -> Iterator[str]:
        yield f"{history.format} {kind}, {history.width} x {history.height}"
        if not present:
            yield "no record of how it was made"
        for name, record in present.items():
            yield f"\n{name}"
            yield from _rows(_flat(record) if name in _RECORDS else record)

    return {"kind": kind} | size | present, lines()


def _weights(listing: TensorIndex) -> Report:
    found, size = identify_file(listing), listing.size
    files = len(listing.files)
    numbers = sum(one.numbers for one in listing.tensors.values())
    tensors = {name: {"dtype": one.dtype, "shape": list(one.shape)} for name, one in listing.tensors.items()}
    metadata = {name: _decoded(text) for name, text in listing.metadata.items()}

    def lines() -> Iterator[str]:
        many = "1 tensor" if len(tensors) == 1 else f"{len(tensors)} tensors"
        whole = f"{listing.form} file" if files < 2 else f"{listing.form}, {files} files"
        yield f"{whole}, {many} ({_dtypes(listing) or 'none'}), {numbers:,} numbers, {_bytes(size)}"
        yield from model_lines(found)
        for title, rows in (("metadata", metadata), ("values", listing.values)):
            if rows:
                yield f"\n{title}"
                yield from _rows(rows)
        yield "\ntensors"
        for name, one in list(listing.tensors.items())[:_MOST_ROWS]:
            shown = name.replace("\n", "\\n") or "(the whole file)"
            yield f"  {shown}  {one.dtype}  {' x '.join(map(str, one.shape)) or 'scalar'}"
        if len(tensors) > _MOST_ROWS:
            yield f"  ... and {len(tensors) - _MOST_ROWS} more; --format json lists all"

    record = {"kind": listing.form, "model": model_record(found), "files": files, "size": size, "numbers": numbers}
    return record | {"metadata": metadata, "values": dict(listing.values), "tensors": tensors}, lines()


def _pipeline(folder: Path) -> Report:
    pipeline = read_folder(folder, pickled=_pickled)
    found, size = identify_folder(pipeline), sum(part.size for part in pipeline.parts.values())
    if found.missing:
        there = ", ".join(pipeline.parts) or "nothing"
        raise MissingError(
            f"{folder} lacks {', '.join(found.missing)} of a {pipeline.name}; it has {there}: get the complete folder"
        )
    parts = {
        name: {"kind": part.form, "size": part.size, "dtypes": _dtypes(part)} for name, part in pipeline.parts.items()
    }

    def lines() -> Iterator[str]:
        yield f"{pipeline.name}, {len(parts)} parts, {_bytes(size)}"
        yield from model_lines(found)
        yield "\nfiles"
        for name, part in parts.items():
            yield f"  {name}  {part['kind']}  {part['dtypes']}  {_bytes(pipeline.parts[name].size)}"

    return {
        "kind": "pipeline",
        "class": pipeline.name,
        "model": model_record(found),
        "size": size,
        "parts": parts,
    }, lines()


def _dtypes(listing: TensorIndex) -> str:
    counted = Counter(one.dtype for one in listing.tensors.values())
    return ", ".join(f"{number} {dtype}" for dtype, number in counted.most_common())


def _bytes(size: int) -> str:
    """A size for reading: 4.27 GB."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def _decoded(text: str) -> object:
    """The object or list in a JSON metadata text, else the text: 38704e20 is a checksum, not a number."""
    try:
        value = json_or_text(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # a file may hold invalid values
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text


def _rows(record: Mapping[str, object]) -> Iterator[str]:
    for name, item in record.items():
        plain = item if isinstance(item, str) else json.dumps(_rounded(item), ensure_ascii=False)
        cut = f"{plain[:_MOST_LETTERS]} ... --format json shows all" if len(plain) > _MOST_LETTERS else plain
        yield f"  {name}: {cut}".replace("\n", "\n    ")


def _flat(record: Mapping[str, object]) -> dict[str, object]:
    """A record with its inner mappings flattened to dotted names, without their empty values."""
    flat: dict[str, object] = {}
    for name, item in record.items():
        inner = item.items() if isinstance(item, Mapping) else ()
        flat |= {f"{name}.{key}": value for key, value in inner if value not in (None, "", [])}
        flat |= {} if inner else {name: item}
    return flat


def _rounded(item: object) -> object:
    """A record with floating numbers rounded to six digits."""
    if isinstance(item, float):
        return float(f"{item:.6g}")
    if isinstance(item, Mapping):
        return {name: _rounded(value) for name, value in item.items()}
    return [_rounded(value) for value in item] if isinstance(item, list) else item
