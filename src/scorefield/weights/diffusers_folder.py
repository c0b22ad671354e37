"""Where the weights of a path are: a file, a folder with its variants, or the shards that an index names.

Nothing is loaded here, and a name inside a file can never lead out of its folder.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from scorefield.errors import DamagedError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
PIPELINE = "model_index.json"
_INDEX = re.compile(r"\.(safetensors|bin)\.index(\.\w+)?\.json")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_STANDARD = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?\.(?P<form>safetensors|bin)"
    r"(?P<index>\.index(?:\.(?P<late>\w+))?\.json)?"
)
_LARGEST_JSON = 64_000_000  # bytes; the index of the largest published model has less than one million


class SourceError(DamagedError, ValueError):
    """A published file that cannot be read; the message names the file, says what is wrong and what to do."""


def locate(path: Path, variant: str | None = None) -> Path:
    """The file of weights, or the index of shards, that `path` stands for.

    In a folder, safetensors come before pickles. `variant` ("fp16") chooses among its files; without one it is the file
    of no variant, or fp16 where that is the only one. SourceError if there is no such file, or more than one.
    """
    try:
        if path.is_dir():
            return _inside(path, variant)
        if not path.exists():
            raise SourceError(f"{path}: no such file or folder")
        if not path.is_file():
            raise SourceError(f"{path} is neither a file nor a folder")
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    if variant is not None:
        raise SourceError(f"{path} is a single file; a variant ({variant}) can only be chosen in a folder")
    return path


def is_index(path: Path) -> bool:
    """Whether a file's name is that of an index of shards."""
    return _INDEX.search(path.name) is not None


def shards(index: Path) -> dict[str, Path]:
    """The file that holds each tensor; SourceError for a file that is missing or a name that leaves the folder."""
    told = read_json(index)
    names = told.get("weight_map")
    if not isinstance(names, dict) or not names:
        raise SourceError(f"{index} is no index of shards: it has no weight_map")
    form = _INDEX.search(index.name)
    suffix = f".{form[1]}" if form else ".safetensors"
    found = {}
    for key, name in names.items():
        if not isinstance(name, str) or name != Path(name).name or "\\" in name or not name.endswith(suffix):
            raise SourceError(f"{index} names {name!r} as a shard, which is no {suffix} file of its own folder")
        found[key] = index.parent / name
    if missing := sorted(file.name for file in set(found.values()) if not file.is_file()):
        raise SourceError(f"{index} names shards that are not there: {', '.join(map(repr, missing))}; get them too")
    return found


def components(folder: Path) -> dict[str, str | None]:
    """The class of every part that a pipeline's model_index.json names, None for a part that it leaves out."""
    found: dict[str, str | None] = {}
    for name, value in read_json(folder / PIPELINE).items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        if not re.fullmatch(r"\w+", name) or len(value) != 2:
            raise SourceError(f"{folder / PIPELINE} is damaged: {name!r} is no part")
        found[name] = value[1] if isinstance(value[1], str) else None
    return found


def read_json(path: Path) -> Mapping[str, Json]:
    """The object that a JSON file holds; SourceError if it is missing, damaged or something else."""
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise SourceError(f"{path} is too large to be what its name says")
        told = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path} is damaged: it is no JSON; get it again") from None
    if not isinstance(told, dict):
        raise SourceError(f"{path} is damaged: it holds no JSON object; get it again")
    return told


def _inside(folder: Path, variant: str | None) -> Path:
    if (folder / PIPELINE).is_file():
        raise SourceError(f"{folder} is a pipeline of several parts; name one of them, as {folder / 'unet'}")
    names = sorted(file.name for file in folder.iterdir())
    if name := standard(names, variant):
        return folder / name
    if variant or _standard(names):
        raise SourceError(f"{folder} {no_variant(names, variant or 'fp16')}")
    return _only(folder, names)


def standard(names: Sequence[str], variant: str | None = None) -> str | None:
    """Which of a folder's files `names` holds the weights of `variant`, or indexes them, named as diffusers does."""
    found = _standard(names)
    for wanted in [variant] if variant else [None, "fp16"]:
        for form in ("safetensors", "bin"):
            if name := found.get((wanted, form)):
                return name
    return None


def no_variant(names: Sequence[str], variant: str) -> str:
    """That a folder of these files has no `variant`, and which it has, in words."""
    there = ", ".join(sorted({found or "the plain one" for found, _ in _standard(names)})) or "none"
    return f"has no weights of the variant {variant}; of variants it has {there}"


def shards_of(index: str, names: Sequence[str]) -> list[str]:
    """The files among `names` that are shards of an index such as model.safetensors.index.json, of any variant."""
    found = _STANDARD.fullmatch(index)
    if found is None or not found["index"]:
        return []
    variant, form = _variant(found)
    stem = re.escape(index.partition(".")[0])
    infix = rf"\.{variant}" if variant else ""
    pattern = re.compile(rf"{stem}({infix}-\d{{5}}-of-\d{{5}}|-\d{{5}}-of-\d{{5}}{infix})\.{form}")
    return [name for name in names if pattern.fullmatch(name)]


def _standard(names: Sequence[str]) -> dict[tuple[str | None, str], str]:
    ordered = sorted(names, reverse=True)
    return {_variant(match): name for name in ordered if (match := _STANDARD.fullmatch(name))}


def _variant(name: re.Match[str]) -> tuple[str | None, str]:
    return name["variant"] or name["late"], name["form"]


def _only(folder: Path, names: list[str]) -> Path:
    """The only file of weights in a folder whose files are not named as diffusers does."""
    whole = [name for name in names if not _SHARD.search(name)]
    safe = [name for name in whole if name.endswith(".safetensors") or is_index(Path(name))]
    found = safe or [name for name in whole if name.endswith(PICKLES)]
    if not found:
        raise SourceError(f"{folder} is a folder without weights: no .safetensors, {', '.join(PICKLES)} in it")
    if len(found) > 1:
        raise SourceError(f"{folder} holds several files of weights; name one: {', '.join(found[:6])}")
    return folder / found[0]
