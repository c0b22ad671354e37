"""The frames of a film: kept as bytes, beyond a bound in a file that has no name."""

import errno
import hashlib
import pickle
import tempfile
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from scorefield.files import frame_store
from scorefield.files.frame_store import FrameStore

SIZE = 40, 30


def frames(n: int, size: tuple[int, int] = SIZE) -> Iterator[Image.Image]:
    source = np.random.default_rng(0)
    for _ in range(n):
        yield Image.fromarray(source.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("in_memory", [1, 10**9])
def test_a_store_is_a_sequence_of_its_frames(in_memory: int) -> None:
    store, held = FrameStore(frames(5), in_memory=in_memory), [*frames(5)]
    assert len(store) == 5
    assert [*store] == held == [store[k] for k in range(5)] == store[:]
    assert (store[-1], store[1:4:2]) == (held[-1], held[1:4:2])
    assert store.sha256 == hashlib.sha256(b"".join(one.tobytes() for one in held)).hexdigest()
    assert [*pickle.loads(pickle.dumps(store))] == held
    with pytest.raises(IndexError):
        store[5]


@pytest.mark.parametrize("odd", [Image.new("L", SIZE), Image.new("RGB", (30, 40))])
def test_frames_are_alike(odd: Image.Image) -> None:
    with pytest.raises(ValueError, match="in a film of RGB"):
        FrameStore(frames(1)).append(odd)


def test_memory_does_not_grow_with_the_film() -> None:
    peaks = []
    for count in (20, 80):
        tracemalloc.start()
        FrameStore(frames(count, (400, 300)), in_memory=10**6)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0] < 80 * 400 * 300 * 3 / 4


def test_a_full_folder_of_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, max_size: int) -> None: ...
        def seek(self, *_: int) -> None: ...
        def close(self) -> None: ...
        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(frame_store.tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(OSError, match="No space left") as caught:
        FrameStore(frames(1))
    assert caught.value.filename == tempfile.gettempdir()
