import errno
import os
import threading

import pytest

from scorefield import atomic
from scorefield.atomic import publish, replacing, staged, write
from scorefield.files.output_names import numbered, numbered_after, slug


@pytest.mark.parametrize(
    ("prompt", "stem"),
    [
        ("a tree in the desert", "a-tree-in-the-desert"),
        ("A Tree, in the desert!", "a-tree-in-the-desert"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "untitled"),
        (" ?! ", "untitled"),
        ("ein Bär 熊", "ein-bär-熊"),
        ("a\nb\tc", "a-b-c"),
    ],
)
def test_a_prompt_becomes_a_plain_file_name(prompt, stem):
    assert slug(prompt) == stem


@pytest.mark.parametrize("letter", ["a", "熊", "🐻", "a "])
def test_the_longest_prompt_becomes_a_name_that_file_systems_take(letter, tmp_path):
    (path,) = [write(b"x", numbered(tmp_path, slug(letter * 5000), ".png"))]
    assert path.read_bytes() == b"x"


def test_a_taken_name_is_passed_over(tmp_path):
    names = [write(text, numbered(tmp_path, "tree", ".png")).name for text in (b"a", b"b", b"c")]
    assert names == ["tree-0.png", "tree-1.png", "tree-2.png"]
    assert (tmp_path / "tree-0.png").read_bytes() == b"a"
    assert sorted(os.listdir(tmp_path)) == names


def test_one_run_continues_after_its_last_file(tmp_path):
    (tmp_path / "tree-1.png").write_text("")
    names = numbered(tmp_path, "tree", ".png")
    assert [write(b"", names).name for _ in range(3)] == ["tree-0.png", "tree-2.png", "tree-3.png"]


def test_a_file_is_numbered_only_when_its_name_is_taken(tmp_path):
    names = [write(b"", numbered_after(tmp_path / "tree.png")).name for _ in range(3)]
    assert names == ["tree.png", "tree-1.png", "tree-2.png"]


def test_overwrite_replaces_the_first_name(tmp_path):
    write(b"old", numbered_after(tmp_path / "tree.png"))
    assert write(b"new", numbered_after(tmp_path / "tree.png"), overwrite=True).read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["tree.png"]


def test_a_missing_folder_is_made(tmp_path):
    assert write(b"x", numbered_after(tmp_path / "a" / "b" / "tree.png")).read_bytes() == b"x"


def test_twenty_writers_of_one_name_all_keep_their_file(tmp_path):
    start = threading.Barrier(20)

    def one(k):
        start.wait()
        write(b"%d" % k, numbered(tmp_path, "tree", ".png"))

    threads = [threading.Thread(target=one, args=(k,)) for k in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(path.read_bytes()) for path in tmp_path.iterdir()) == list(range(20))
    assert {path.name for path in tmp_path.iterdir()} == {f"tree-{k}.png" for k in range(20)}


def test_file_systems_without_hard_links_lose_no_file_either(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(atomic.os, "link", refuse)
    for text in (b"a", b"b"):
        write(text, numbered_after(tmp_path / "tree.png"))
    assert (tmp_path / "tree.png").read_bytes() == b"a"
    assert (tmp_path / "tree-1.png").read_bytes() == b"b"
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_nothing(tmp_path, interruption):
    def half():
        with staged(tmp_path) as path:
            path.write_bytes(b"half")
            raise interruption

    with pytest.raises(interruption):
        half()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel now refuses the write half-way
    try:
        with pytest.raises(OSError, match="too large"):
            write(b"x" * 5000, numbered_after(tmp_path / "tree.png"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_a_file_is_an_error_before_any_work(tmp_path):
    (tmp_path / "tree").write_text("")
    with pytest.raises(NotADirectoryError) as caught, staged(tmp_path / "tree"):
        pass
    assert caught.value.filename == str(tmp_path / "tree")


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    (tmp_path / "old").mkdir()
    for folder in (tmp_path / "new" / "deep", tmp_path / "old" / "deep", tmp_path / "old"):
        with staged(folder) as path:
            assert path.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]


def test_an_error_of_the_hidden_file_names_its_folder(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught, staged(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write says it: without a name
    assert caught.value.filename == str(tmp_path)


def test_a_folder_that_another_run_removes_meanwhile_is_made_again(tmp_path, monkeypatch):
    create, calls = os.open, []

    def late(path, *flags):
        calls.append(path)
        if len(calls) == 1:
            path.parent.rmdir()
        return create(path, *flags)

    monkeypatch.setattr(atomic.os, "open", late)
    assert write(b"x", numbered_after(tmp_path / "new" / "tree.png")).read_bytes() == b"x"
    assert len(calls) == 2


def test_published_files_have_ordinary_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        with staged(tmp_path) as path:
            path.write_bytes(b"x")
            assert publish(path, numbered_after(tmp_path / "tree.png")).stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(mask)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path, interruption):
    path = tmp_path / "state"
    path.write_bytes(b"old")

    def half():
        with replacing(path) as part:
            part.write_bytes(b"half")
            raise interruption

    with pytest.raises(interruption):
        half()
    assert path.read_bytes() == b"old"
    with replacing(path) as part:
        part.unlink()  # as a library does that writes a file of its own and renames it
        part.write_bytes(b"new")
        part.chmod(0o600)
    assert path.read_bytes() == b"new"
    (tmp_path / "ordinary").touch()
    assert path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    (tmp_path / "ordinary").unlink()
    assert os.listdir(tmp_path) == ["state"]
