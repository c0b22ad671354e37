"""A cache on the disk, in the user's cache folder: bytes by key, of bounded size, shared by any number of processes."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from scorefield import atomic
from scorefield.notes import CacheWarning, note

MOST_BYTES = 512 << 20  # of all entries of a cache
_DIGEST = hashlib.sha256().digest_size


def default_folder() -> Path:
    """The cache folder of scorefield, by the XDG rule: in $XDG_CACHE_HOME, else in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "scorefield"


class DiskCache:
    """Entries of a `folder`, each a file with the SHA-256 of its bytes before them.

    An entry that is damaged is deleted, and missing from then on. When `most` bytes are exceeded, the entries that have
    not been read for longest are deleted. Without a folder it keeps nothing.
    """

    def __init__(self, folder: Path | None, most: int = MOST_BYTES) -> None:
        self.folder, self.most = folder, most

    def get(self, key: str) -> bytes | None:
        """The bytes of an entry; None if there is none."""
        if self.folder is None:
            return None
        path = self.folder / _name(key)
        try:
            stored = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note("read", error)
            return None
        digest, data = stored[:_DIGEST], stored[_DIGEST:]
        if hashlib.sha256(data).digest() != digest:
            self.drop(key)
            return None
        with suppress(OSError):  # another process may delete it, or the folder be read-only
            os.utime(path)
        return data

    def has(self, key: str) -> bool:
        """Whether there is an entry, which nobody has looked into."""
        return self.folder is not None and (self.folder / _name(key)).is_file()

    def put(self, key: str, data: bytes) -> None:
        """Add or replace an entry, and delete old ones to make room; a folder that cannot be written is a note."""
        if self.folder is None:
            return
        try:
            with atomic.staged(self.folder) as part:
                part.write_bytes(hashlib.sha256(data).digest() + data)
                os.replace(part, self.folder / _name(key))
        except OSError as error:
            self._note("written", error)
        else:
            self._evict(self.folder)

    def drop(self, key: str) -> None:
        """Delete an entry, if there is one."""
        if self.folder is not None:
            with suppress(OSError):
                (self.folder / _name(key)).unlink()

    def _evict(self, folder: Path) -> None:
        """Delete the oldest entries until the rest fits; other processes may do the same at the same time."""
        kept = 0
        for _, size, path in sorted(_entries(folder), reverse=True):
            kept += size
            if kept > self.most:
                with suppress(OSError):
                    path.unlink()

    def _note(self, what: str, error: OSError) -> None:
        note(CacheWarning, f"the cache {self.folder} cannot be {what} ({error.strerror}); --no-cache does without it")


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _entries(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """The time of the last use, the size and the path of each entry."""
    for path in folder.glob("[0-9a-f]*"):
        with suppress(OSError):
            stat = path.stat()
            yield stat.st_mtime_ns, stat.st_size, path
