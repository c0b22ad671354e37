"""Models by name in the folders that a user keeps them in: a name is a file's stem, or a folder's name."""

import os
from collections.abc import Iterable
from pathlib import Path

FOLDERS = "SCOREFIELD_MODELS"  # the environment variable, a list as in PATH
_ENDINGS = (".safetensors", ".ckpt")
_DEEPEST = 3  # folders below those named
_OF_A_FOLDER = ("model_index.json", "models_t5_umt5-xxl-enc-bf16.pth")  # whole models that are folders


def models_in(folders: Iterable[Path]) -> dict[str, Path]:
    """Every file or folder in `folders` that may be a model, by name; of one name the first counts.

    What is hidden, or unreadable, is left out.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(_candidates(folder, _DEEPEST)):
            found.setdefault(path.name if path.is_dir() else path.stem, path)
    return found


def find(name: str, folders: Iterable[Path]) -> Path | None:
    """The model of that name."""
    return models_in(folders).get(name)


def listed_in_environment() -> tuple[Path, ...]:
    """The folders that SCOREFIELD_MODELS lists."""
    return tuple(Path(one) for one in os.environ.get(FOLDERS, "").split(os.pathsep) if one)


def _candidates(folder: Path, depth: int) -> Iterable[Path]:
    try:
        entries = [one for one in folder.iterdir() if not one.name.startswith(".")]
    except OSError:
        return
    for one in entries:
        if one.is_dir():
            if any((one / name).exists() for name in _OF_A_FOLDER):
                yield one
            elif depth > 0:
                yield from _candidates(one, depth - 1)
        elif one.suffix in _ENDINGS:
            yield one
