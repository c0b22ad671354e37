"""The files of a model by their names and first bytes: those of a path, a variant, shards, and a pipeline's parts.

No tensor is read here, and no name inside a file can lead out of its folder.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from scorefield.errors import DamagedError, MissingError, RequestError, UnsupportedError
from scorefield.input_files import Json, check_regular, file_errors, read_json

PIPELINE = "model_index.json"  # the file that makes a folder one of diffusers' pipelines
UNREAD = ("safety_checker", "feature_extractor")  # parts of a pipeline that drawing does not need
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
SAFETENSORS, TORCH = "safetensors", "torch"
PNG = b"\x89PNG\r\n\x1a\n"

_INDEX = re.compile(r"\.(safetensors|bin)\.index(\.\w+)?\.json")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_STANDARD = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?\.(?P<form>safetensors|bin)"
    r"(?P<index>\.index(?:\.(?P<late>\w+))?\.json)?"
)
_EXPERT = re.compile(r"(?<![a-z])(high|low)(?![a-z])", re.IGNORECASE)
_HEAD = 512  # bytes that are read
_SERVER = "the server sent it instead of the file; log in, accept the licence, get it again"
_SAFE = "take the same weights as safetensors"
# The first bytes of files that hold no weights, what they are, and what to do.
_DAMAGED: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"version https://git-lfs",), "a Git LFS pointer", "run `git lfs pull` in its folder"),
    ((b"<",), "a web page or XML", _SERVER),
    ((b"{", b"["), "JSON text", _SERVER),
    ((bytes(16),), "zeros", "the download was not finished; get it again"),
)
_OTHERS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"GGUF", b"GGML", b"ggjt"), "a file of llama.cpp (GGUF)", _SAFE),
    ((b"\x89HDF\r\n",), "an HDF5 file, as Keras writes it", _SAFE),
    ((b"\x93NUMPY",), "an array of NumPy", _SAFE),
    ((b"\x08\x07\x12", b"\x08\x08\x12", b"\x08\x0a\x12"), "an ONNX model", _SAFE),
    ((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!"), "a compressed archive",
     "unpack it, and give a file in it"),
    ((PNG, b"\xff\xd8\xff", b"RIFF", b"GIF8", b"%PDF"), "a picture or a document", "give a file of weights"),
)  # fmt: skip


def locate(path: Path, variant: str | None = None) -> Path:
    """Find the file of weights, or the index of shards, for `path`.

    In a folder, safetensors come before pickles. `variant` ("fp16") chooses among its files; the default is the file
    without a variant, or else fp16. MissingError if there is no such file, RequestError if there are several.
    """
    with file_errors(path):
        if path.is_dir():
            return _inside(path, variant)
    check_regular(path)
    if variant is not None:
        raise RequestError(f"{path} is a single file; a variant ({variant}) can only be chosen in a folder")
    return path


def _inside(folder: Path, variant: str | None) -> Path:
    if is_diffusers_folder(folder):
        raise RequestError(f"{folder} is a pipeline of several parts; give one of them, such as {folder / 'unet'}")
    names = sorted(file.name for file in folder.iterdir())
    if name := standard(names, variant):
        return folder / name
    if variant or _standard(names):
        raise MissingError(f"{folder} {no_variant(names, variant or 'fp16')}")
    files = _others(names)
    if not files:
        raise MissingError(f"{folder} is a folder without weights: no .safetensors, {', '.join(PICKLES)}")
    if len(files) > 1:
        raise RequestError(f"{folder} holds several weights files; give one: {', '.join(files[:6])}")
    return folder / files[0]


def _others(names: Sequence[str]) -> list[str]:
    """The files of weights, or indexes of shards, in a folder where none is named as diffusers names them."""
    whole = [name for name in names if not _SHARD.search(name)]
    safe = [name for name in whole if name.endswith(".safetensors") or is_index(Path(name))]
    return safe or [name for name in whole if name.endswith(PICKLES)]


def has_several(folder: Path) -> bool:
    """Whether a folder holds several files of weights, of which none comes first."""
    if not folder.is_dir() or is_diffusers_folder(folder):
        return False
    with file_errors(folder):
        names = [file.name for file in folder.iterdir()]
    return not _standard(names) and len(_others(names)) > 1


def standard(names: Sequence[str], variant: str | None = None) -> str | None:
    """The file among `names` with the weights of `variant`, or their index, by diffusers' naming."""
    files = _standard(names)
    wanted = ((one, form) for one in ([variant] if variant else [None, "fp16"]) for form in ("safetensors", "bin"))
    return next((files[one] for one in wanted if one in files), None)


def no_variant(names: Sequence[str], variant: str) -> str:
    """A phrase: a folder of these files has no `variant`, but these others."""
    there = ", ".join(sorted({found or "the plain one" for found, _ in _standard(names)})) or "none"
    return f"has no weights of variant {variant}; its variants: {there}"


def _standard(names: Sequence[str]) -> dict[tuple[str | None, str], str]:
    """The files with diffusers' names, by variant and format; the first of each."""
    ordered = sorted(names, reverse=True)
    return {_variant(match): name for name in ordered if (match := _STANDARD.fullmatch(name))}


def _variant(name: re.Match[str]) -> tuple[str | None, str]:
    return name["variant"] or name["late"], name["form"]


def is_index(path: Path) -> bool:
    """Whether a file's name is that of an index of shards."""
    return _INDEX.search(path.name) is not None


def shards(index: Path) -> dict[str, Path]:
    """Map each tensor to its file; an error for a missing file and for a name that leaves the folder."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise DamagedError(f"{index} is not an index of shards: it has no weight_map")
    form = _INDEX.search(index.name)
    suffix = f".{form[1]}" if form else ".safetensors"
    files = {}
    for key, name in names.items():
        if not isinstance(name, str) or name != Path(name).name or "\\" in name or not name.endswith(suffix):
            raise DamagedError(f"{index} names {name!r} as a shard, which is not a {suffix} file in its folder")
        files[key] = index.parent / name
    if missing := sorted(file.name for file in set(files.values()) if not file.is_file()):
        raise MissingError(f"{index} names missing shards: {', '.join(map(repr, missing))}; download them, too")
    return files


def shards_of(index: str, names: Sequence[str]) -> list[str]:
    """The files among `names` that are shards of an index such as model.safetensors.index.json, of any variant."""
    match = _STANDARD.fullmatch(index)
    if match is None or not match["index"]:
        return []
    variant, form = _variant(match)
    stem = re.escape(index.partition(".")[0])
    infix = rf"\.{variant}" if variant else ""
    pattern = re.compile(rf"{stem}({infix}-\d{{5}}-of-\d{{5}}|-\d{{5}}-of-\d{{5}}{infix})\.{form}")
    return [name for name in names if pattern.fullmatch(name)]


def is_diffusers_folder(path: Path) -> bool:
    """Whether a path is the folder of a diffusers pipeline."""
    return (path / PIPELINE).is_file()


def components(folder: Path, model_index: Mapping[str, Json] | None = None) -> dict[str, str | None]:
    """The class of every part that a pipeline's model_index.json names, None for a part that it leaves out."""
    classes: dict[str, str | None] = {}
    for name, value in (read_json(folder / PIPELINE) if model_index is None else model_index).items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        if not re.fullmatch(r"\w+", name) or len(value) != 2:
            raise DamagedError(f"{folder / PIPELINE} is damaged: {name!r} is not a part")
        classes[name] = value[1] if isinstance(value[1], str) else None
    return classes


def format_of(file: Path) -> str:
    """SAFETENSORS or TORCH, by the first bytes of a file; an error that says what it is instead."""
    head = read_head(file)
    if not head:
        raise DamagedError(f"{file} is empty; get it again")
    if head[8:9] == b"{":
        return SAFETENSORS
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return TORCH
    for error, known in ((DamagedError, _DAMAGED), (UnsupportedError, _OTHERS)):
        for starts, what, help_ in known:
            if head.startswith(starts) or (len(starts[0]) == 1 and head.lstrip().startswith(starts)):
                raise error(f"{file} is {what}, not weights: {help_}")
    if file.suffix == ".safetensors":
        return SAFETENSORS  # its reader says what is wrong
    raise UnsupportedError(f"{file} is not a weights file: neither safetensors nor written by torch.save")


def read_head(file: Path) -> bytes:
    """The first bytes of a regular file."""
    check_regular(file)
    with file_errors(file), file.open("rb") as stream:
        return stream.read(_HEAD)


def expert_of(name: str) -> tuple[str, str] | None:
    """Which expert of a Wan 2.2 a file is for, "high" or "low" noise, and the other's name; None if it does not say."""
    match = _EXPERT.search(name)
    if match is None:
        return None
    word = match[1]
    other = "low" if word.lower() == "high" else "high"
    other = other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
    return word.lower(), name[: match.start()] + other + name[match.end() :]
