"""Writes that are whole or absent, under names that never clash, however many programs write at once."""

import errno
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path

_LONGEST_STEM = 60  # characters; file systems take 255 bytes
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


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


def beside(path: Path) -> Iterator[Path]:
    """The path itself, then path-1.png, path-2.png, ..."""
    yield path
    yield from (path.with_name(f"{path.stem}-{k}{path.suffix}") for k in count(1))


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A new empty hidden file in `folder`, which is made if it is missing; gone afterwards unless it was moved.

    A folder that was made for it goes, too, if it stays empty. OSError names a folder that cannot be written: so it
    also tells, before long work, whether a result could be kept.
    """
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    path = folder / f".scorefield-{os.getpid()}-{secrets.token_hex(6)}.part"
    try:
        _create(path)
        yield path
    except OSError as error:
        if error.errno is None or error.filename not in (None, path, str(path)):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(folder)) from None
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
            for parent in made:
                parent.rmdir()  # an OSError if it holds something by now


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """A new empty hidden folder that becomes `folder` at the end; if that is not reached, nothing of it is left."""
    with staged(folder.parent) as file:
        held = file.with_suffix(".folder")
        try:
            held.mkdir()
            yield held
            os.rename(held, folder)
        finally:
            shutil.rmtree(held, ignore_errors=True)


def _create(path: Path, tries: int = 3) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from None
    except FileNotFoundError:  # another run made the folder, put nothing there, and has removed it just now
        if tries == 1:
            raise
        _create(path, tries - 1)


def publish(path: Path, names: Iterator[Path], *, overwrite: bool = False) -> Path:
    """Give the staged file the first name that is free, or with `overwrite` the first name; returns that name."""
    for name in names:
        if overwrite:
            os.replace(path, name)
            return name
        try:
            os.link(path, name)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if not _claim(name):
                continue
            os.replace(path, name)
        return name
    raise FileExistsError(errno.EEXIST, "every name is taken", str(path.parent))


def write(data: bytes, names: Iterator[Path], *, overwrite: bool = False) -> Path:
    """Write `data` whole under the first free name of `names` (all in one folder); returns that name."""
    first = next(names)
    with staged(first.parent) as path:
        path.write_bytes(data)
        return publish(path, chain([first], names), overwrite=overwrite)


def _claim(name: Path) -> bool:
    # File systems without hard links (FAT, some network shares): an exclusive empty file keeps the name until the move.
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    return True
