"""The frames of a film, kept as bytes: in memory while they are few, then in a temporary file without a name."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import overload

from PIL import Image

IN_MEMORY = 128 << 20  # bytes of a film: 106 frames of 832 x 480


class FrameStore(Sequence[Image.Image]):
    """RGB frames of one size, in order, as a sequence that makes a picture of each when it is asked for.

    Frames are added as they are made. Beyond `in_memory` bytes all are in a temporary file (in $TMPDIR), which the
    system deletes with the store, however the process ends. OSError names its folder if that is full.
    """

    def __init__(self, frames: Iterable[Image.Image] = (), *, in_memory: int = IN_MEMORY) -> None:
        self._bytes = tempfile.SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115 - as long as the store
        self._lock = threading.Lock()  # readers share the file's place
        self._size, self._count = (0, 0), 0
        self._digest = hashlib.sha256()
        for frame in frames:
            self.append(frame)

    def append(self, frame: Image.Image) -> None:
        """Add a frame; ValueError for one that is not RGB, or of another size than the first."""
        if frame.mode != "RGB" or (self._count and frame.size != self._size):
            raise ValueError(f"a frame of {frame.mode} {frame.size} in a film of RGB {self._size}")
        data = frame.tobytes()
        with self._lock:
            try:
                self._bytes.seek(0, os.SEEK_END)
                self._bytes.write(data)
                self._bytes.flush()
            except OSError as error:
                with suppress(OSError):  # it would write again what does not fit
                    self._bytes.close()
                raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None
        self._digest.update(data)
        self._size, self._count = frame.size, self._count + 1

    @property
    def sha256(self) -> str:
        """The sha256 of the RGB bytes of all frames, row by row."""
        return self._digest.hexdigest()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(self._count))]
        length = self._size[0] * self._size[1] * 3
        with self._lock:
            self._bytes.seek(range(self._count)[index] * length)
            data = self._bytes.read(length)
        return Image.frombytes("RGB", self._size, data)

    def __iter__(self) -> Iterator[Image.Image]:
        return (self[k] for k in range(self._count))

    def __reduce__(self) -> tuple[object, ...]:
        """A store is pickled as its frames."""
        return FrameStore, (list(self),)
