"""Atomic files: written whole or not at all, never over another program's file, however many write at once."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a new empty hidden file in `folder`, and delete it afterwards unless it was moved.

    Missing folders are created, and deleted again if they stay empty. OSError names a folder that is not writable, so
    entering the block before long work also tests whether the result can be saved.
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
                parent.rmdir()  # fails if the folder is in use by now


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Yield a new empty hidden folder that becomes `folder` at the end; on any error nothing of it remains."""
    with staged(folder.parent) as file:
        hidden = file.with_suffix(".folder")
        try:
            hidden.mkdir()
            yield hidden
            os.rename(hidden, folder)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden file that replaces `path` at the end, flushed to the disk; on any error `path` stays as it was."""
    with staged(path.parent) as part:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)


def publish(path: Path, names: Iterator[Path], *, overwrite: bool = False) -> Path:
    """Move the staged file to the first free name, or with `overwrite` to the first name; return that name."""
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
    """Write `data` to the first free name of `names`, all in one folder; return that name."""
    first = next(names)
    with staged(first.parent) as path:
        path.write_bytes(data)
        return publish(path, chain([first], names), overwrite=overwrite)


def _create(path: Path, tries: int = 3) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from None
    except FileNotFoundError:  # another run created the folder and deleted it again just now
        if tries == 1:
            raise
        _create(path, tries - 1)


def _claim(name: Path) -> bool:
    # File systems without hard links (FAT, some network shares): an exclusive empty file reserves the name.
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    return True
