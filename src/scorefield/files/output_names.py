"""Names of output files: derived from the prompt or given by the user, numbered if taken."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from scorefield.errors import RequestError

_LONGEST_STEM = 60  # characters; file systems allow 255 bytes
_OTHER_FORMATS = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".mp4"}


class OutputError(RequestError):
    """An output format that scorefield does not write."""


def slug(text: str) -> str:
    """A file name's stem for a prompt: "A tree, in the desert!" -> "a-tree-in-the-desert"; "untitled" if empty."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = re.sub(r"[\W_]+", "-", plain)[:_LONGEST_STEM]
    while len(words.encode()) > 2 * _LONGEST_STEM:
        words = words[:-1]
    return words.strip("-") or "untitled"


def numbered(folder: Path, stem: str, suffix: str) -> Iterator[Path]:
    """folder/stem-0.png, folder/stem-1.png, ..."""
    return (folder / f"{stem}-{k}{suffix}" for k in count())


def numbered_after(path: Path) -> Iterator[Path]:
    """The path itself, then path-1.png, path-2.png, ..."""
    yield path
    yield from (path.with_name(f"{path.stem}-{k}{path.suffix}") for k in count(1))


class OutputNames:
    """Names for the pictures of one run: a folder with files named after prompts, or one .png file.

    OutputError for another file format.
    """

    def __init__(self, output: Path) -> None:
        if str(output) == "-":
            raise OutputError("cannot write a picture to standard output; give a folder or a .png file")
        suffix = output.suffix.lower()
        if suffix in _OTHER_FORMATS and not output.is_dir():
            raise OutputError(f"pictures are written as PNG; use {output.with_suffix('.png')} or a folder")
        self._file = output if suffix == ".png" and not output.is_dir() else None
        self.folder = output.parent if self._file else output
        self._open: dict[str, Iterator[Path]] = {}

    def of(self, prompt: str) -> Iterator[Path]:
        """The candidate names for the next picture of `prompt`, best first."""
        stem = "" if self._file else slug(prompt)
        if stem not in self._open:
            self._open[stem] = numbered_after(self._file) if self._file else numbered(self.folder, stem, ".png")
        return self._open[stem]
