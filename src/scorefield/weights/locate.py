"""Locate the weights of a path: a file, one of a folder's variants, or the shards that an index names.

Nothing is loaded here, and no name inside a file can lead out of its folder.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from scorefield.errors import DamagedError, MissingError, RequestError, ScorefieldError
from scorefield.input_files import check_regular, file_errors, read_json

PIPELINE = "model_index.json"  # the file that makes a folder one of diffusers' pipelines
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
_INDEX = re.compile(r"\.(safetensors|bin)\.index(\.\w+)?\.json")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_STANDARD = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?\.(?P<form>safetensors|bin)"
    r"(?P<index>\.index(?:\.(?P<late>\w+))?\.json)?"
)


def locate(path: Path, variant: str | None = None) -> Path:
    """Find the file of weights, or the index of shards, for `path`.

    In a folder, safetensors come before pickles. `variant` ("fp16") chooses among its files; without one it is the file
    of no variant, or fp16 if that is the only one. MissingError if there is no such file, RequestError if there are
    several.
    """
    with file_errors(path):
        if path.is_dir():
            return _inside(path, variant)
    check_regular(path)
    if variant is not None:
        raise RequestError(f"{path} is a single file; a variant ({variant}) can only be chosen in a folder")
    return path


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


def standard(names: Sequence[str], variant: str | None = None) -> str | None:
    """The one of a folder's files `names` with the weights of `variant`, or their index, by diffusers' naming."""
    files = _standard(names)
    for wanted in [variant] if variant else [None, "fp16"]:
        for form in ("safetensors", "bin"):
            if name := files.get((wanted, form)):
                return name
    return None


def no_variant(names: Sequence[str], variant: str) -> str:
    """A phrase: a folder of these files has no `variant`, but these others."""
    there = ", ".join(sorted({found or "the plain one" for found, _ in _standard(names)})) or "none"
    return f"has no weights of variant {variant}; its variants: {there}"


def variant_in(folder: Path, variant: str | None) -> str | None:
    """`variant` if a part's folder has it, else None for the plain file."""
    try:
        locate(folder, variant)
    except ScorefieldError:
        return None
    return variant


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


def _inside(folder: Path, variant: str | None) -> Path:
    if (folder / PIPELINE).is_file():
        raise RequestError(f"{folder} is a pipeline of several parts; give one of them, such as {folder / 'unet'}")
    names = sorted(file.name for file in folder.iterdir())
    if name := standard(names, variant):
        return folder / name
    if variant or _standard(names):
        raise MissingError(f"{folder} {no_variant(names, variant or 'fp16')}")
    return _only(folder, names)


def _standard(names: Sequence[str]) -> dict[tuple[str | None, str], str]:
    ordered = sorted(names, reverse=True)
    return {_variant(match): name for name in ordered if (match := _STANDARD.fullmatch(name))}


def _variant(name: re.Match[str]) -> tuple[str | None, str]:
    return name["variant"] or name["late"], name["form"]


def _only(folder: Path, names: list[str]) -> Path:
    """The only file of weights in a folder whose files are not named as diffusers names them."""
    whole = [name for name in names if not _SHARD.search(name)]
    safe = [name for name in whole if name.endswith(".safetensors") or is_index(Path(name))]
    files = safe or [name for name in whole if name.endswith(PICKLES)]
    if not files:
        raise MissingError(f"{folder} is a folder without weights: no .safetensors, {', '.join(PICKLES)}")
    if len(files) > 1:
        raise RequestError(f"{folder} holds several weights files; give one: {', '.join(files[:6])}")
    return folder / files[0]
