"""What a file is by its first bytes, whatever its name ends with; only regular files are ever opened."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scorefield.errors import DamagedError, MissingError, ScorefieldError, UnsupportedError

SAFETENSORS, TORCH = "safetensors", "torch"
PNG = b"\x89PNG\r\n\x1a\n"
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_HEAD = 512  # bytes that are looked at
_SPECIAL = {
    stat.S_ISFIFO: "a named pipe", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device", stat.S_ISSOCK: "a socket",
}  # fmt: skip
_AGAIN = "get the file again"
_AS_SAFETENSORS = "take the same weights as safetensors"
_UNPACK = "unpack it and take the weights in it"
# (where, bytes there, what the file is, what to do)
_DAMAGED: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer, which stands for the file", "run `git lfs pull` in its folder"),
    (0, b"<", "a web page or XML", "a download without login or licence gives one; get the file itself"),
    (0, b"{", "JSON text", "a server may have answered with an error; get the file itself"),
    (0, b"[", "JSON text", "a server may have answered with an error; get the file itself"),
    (0, bytes(16), "zeros", f"the download was not finished; {_AGAIN}"),
)
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"GGUF", "a GGUF file of llama.cpp", _AS_SAFETENSORS),
    (0, b"GGML", "a GGML file of llama.cpp", _AS_SAFETENSORS),
    (0, b"\x89HDF\r\n", "an HDF5 file of Keras", _AS_SAFETENSORS),
    (0, b"\x93NUMPY", "an array of NumPy", _AS_SAFETENSORS),
    (4, b"TFL3", "a TensorFlow Lite model", _AS_SAFETENSORS),
    (0, b"\x08\x07\x12", "an ONNX model", _AS_SAFETENSORS),
    (0, b"\x08\x08\x12", "an ONNX model", _AS_SAFETENSORS),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, PNG, "a PNG picture", "give a file of weights"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give a file of weights"),
    (0, b"RIFF", "a WebP picture or a sound", "give a file of weights"),
    (0, b"GIF8", "a GIF picture", "give a file of weights"),
    (0, b"%PDF", "a PDF document", "give a file of weights"),
    (0, b"\x7fELF", "a program", "give a file of weights"),
    (0, b"MZ", "a program", "give a file of weights"),
)


def format_of(file: Path) -> str:
    """SAFETENSORS or TORCH, by the first bytes of a file; an error that says what it is instead."""
    head = read_head(file)
    if not head:
        raise DamagedError(f"{file} is empty; get it again")
    if head[8:9] == b"{":
        return SAFETENSORS
    if head.startswith((_ZIP, _PICKLE)):
        return TORCH
    for kind, known in ((DamagedError, _DAMAGED), (UnsupportedError, _OTHERS)):
        for at, start, what, help_ in known:
            if (head.lstrip() if start in (b"<", b"{", b"[") else head)[at:].startswith(start):
                raise kind(f"{file} is {what}, not weights: {help_}")
    if file.suffix == ".safetensors":
        return SAFETENSORS  # its reader says what is wrong
    raise UnsupportedError(f"{file} is no weights file that can be read: neither safetensors nor of torch.save")


def read_head(file: Path) -> bytes:
    """The first bytes of a regular file."""
    check_regular(file)
    with file_errors(file), file.open("rb") as stream:
        return stream.read(_HEAD)


def check_regular(path: Path) -> None:
    """Raise MissingError if nothing is at `path`, UnsupportedError for what blocks or never ends, such as a pipe."""
    with file_errors(path):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        what = next((name for test, name in _SPECIAL.items() if test(mode)), "a folder")
        raise UnsupportedError(f"{path} is {what}, not a regular file")


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about `path` into one line: MissingError or DamagedError."""
    try:
        yield
    except ScorefieldError:
        raise
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror or error}") from None
