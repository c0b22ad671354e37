"""Where the pictures of one run go."""

from collections.abc import Iterator
from pathlib import Path

from scorefield.errors import RequestError
from scorefield.files import atomic

_OTHER_KINDS = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".mp4"}


class OutputError(RequestError):
    """An output of a kind that is not written."""


class Names:
    """A folder, where files are named after their prompts, or one name in .png; OutputError for other endings."""

    def __init__(self, output: Path) -> None:
        if str(output) == "-":
            raise OutputError("pictures go into files, not to standard output; give a folder, or a name in .png")
        suffix = output.suffix.lower()
        if suffix in _OTHER_KINDS and not output.is_dir():
            raise OutputError(f"pictures are written as PNG; name it {output.with_suffix('.png')}, or give a folder")
        self._file = output if suffix == ".png" and not output.is_dir() else None
        self.folder = output.parent if self._file else output
        self._open: dict[str, Iterator[Path]] = {}

    def of(self, prompt: str) -> Iterator[Path]:
        """The names that the next picture of `prompt` may have, best first."""
        stem = "" if self._file else atomic.slug(prompt)
        if stem not in self._open:
            names = atomic.beside(self._file) if self._file else atomic.numbered(self.folder, stem, ".png")
            self._open[stem] = names
        return self._open[stem]
