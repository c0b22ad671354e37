"""Names of output files: derived from the prompt or given by the user, numbered if taken."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from scorefield.errors import RequestError
from scorefield.files import video
from scorefield.notes import ScorefieldWarning, note

_LONGEST_STEM = 60  # characters; file systems allow 255 bytes
_PICTURE, _FILMS = ".png", (".mp4", ".webp", ".gif", ".png")
_OTHER_FORMATS = {".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


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
    """Names for the outputs of one run: a folder with files named after prompts, or one file.

    OutputError for a file format that scorefield does not write.
    """

    def __init__(self, output: Path) -> None:
        if str(output) == "-":
            raise OutputError("cannot write a picture to standard output; give a folder or a .png file")
        suffix = output.suffix.lower()
        if suffix in _OTHER_FORMATS and not output.is_dir():
            raise _only_png(output)
        self._file = output if suffix in _FILMS and not output.is_dir() else None
        self.folder = output.parent if self._file else output
        self._open: dict[str, Iterator[Path]] = {}

    def ending(self, *, film: bool) -> str:
        """The ending of the files, which says their format: the given one, or in a folder .png, for films .mp4.

        Without PyAV films in a folder are .webp, with a note. OutputError if pictures have no such format,
        MissingExtraError for a given .mp4 without PyAV.
        """
        if self._file is not None:
            ending = self._file.suffix.lower()
            if not film and ending != _PICTURE:
                raise _only_png(self._file)
            if ending == ".mp4":
                video.require_video()
            return self._file.suffix
        if not film:
            return _PICTURE
        if video.can_encode():
            return ".mp4"
        note(ScorefieldWarning, "films are written as WebP; for mp4, pip install 'scorefield[video]'")
        return ".webp"

    def of(self, prompt: str, ending: str) -> Iterator[Path]:
        """The candidate names for the next output of `prompt`, best first; `ending` is this object's."""
        stem = "" if self._file else slug(prompt)
        if stem not in self._open:
            self._open[stem] = numbered_after(self._file) if self._file else numbered(self.folder, stem, ending)
        return self._open[stem]


def _only_png(output: Path) -> OutputError:
    return OutputError(f"pictures are written as PNG; use {output.with_suffix(_PICTURE)} or a folder")
