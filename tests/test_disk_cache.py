"""The cache on the disk: what was put comes out, damaged entries are gone, and it keeps to its size."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scorefield.disk_cache import DiskCache, _name, default_folder
from scorefield.notes import CacheWarning


def aged(folder: Path, *keys: str) -> None:
    """The entries were last used in this order, a second apart."""
    for k, key in enumerate(keys):
        os.utime(folder / _name(key), (k, k))


def test_an_entry_comes_out_as_it_was_put(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "new")
    assert cache.get("a/b") is None
    cache.put("a/b", b"one")
    cache.put("a/b", b"two")
    cache.put("empty", b"")
    assert (cache.get("a/b"), cache.get("empty"), DiskCache(tmp_path / "new").get("a/b")) == (b"two", b"", b"two")
    cache.drop("a/b")
    cache.drop("a/b")
    assert cache.get("a/b") is None


def test_a_cache_without_a_folder_keeps_nothing() -> None:
    cache = DiskCache(None)
    cache.put("a", b"one")
    cache.drop("a")
    assert cache.get("a") is None


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:40] + b"?" + data[41:]]
)
def test_a_damaged_entry_is_deleted(tmp_path: Path, damage: object) -> None:
    cache = DiskCache(tmp_path)
    cache.put("a", b"some bytes of an entry")
    path = tmp_path / _name("a")
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert cache.get("a") is None
    assert not path.exists()


def test_the_entry_that_was_not_read_for_longest_goes_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, most=3 * 132)
    for key in "abc":
        cache.put(key, bytes(100))
    aged(tmp_path, "a", "b", "c")
    assert cache.get("a") == bytes(100)
    cache.put("d", bytes(100))
    assert [cache.get(key) is not None for key in "abcd"] == [True, False, True, True]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= cache.most


def test_two_processes_may_fill_one_cache(tmp_path: Path) -> None:
    work = (
        "import sys; from pathlib import Path; from scorefield.disk_cache import DiskCache\n"
        "cache = DiskCache(Path(sys.argv[1]), most=20_000)\n"
        "for k in range(200):\n"
        "    cache.put(str(k % 20), bytes([k % 20]) * 2000)\n"
        "    held = cache.get(str(k % 7)); assert held in (None, bytes([k % 7]) * 2000)\n"
    )
    processes = [subprocess.Popen([sys.executable, "-W", "error", "-c", work, str(tmp_path)]) for _ in range(2)]
    assert [one.wait(60) for one in processes] == [0, 0]
    assert 0 < sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000


def test_a_folder_that_cannot_be_used_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(CacheWarning, match="cannot be written .*; --no-cache does without it"):
        DiskCache(tmp_path / "file" / "cache").put("a", b"")
    with pytest.warns(CacheWarning, match="cannot be read"):
        assert DiskCache(tmp_path / "file" / "cache").get("a") is None


def test_it_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "scorefield"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the XDG rule has us ignore
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "scorefield"
