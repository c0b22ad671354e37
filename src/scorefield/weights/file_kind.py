"""The format of a file by its first bytes, whatever its suffix."""

from pathlib import Path

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.input_files import check_regular, file_errors

SAFETENSORS, TORCH = "safetensors", "torch"
PNG = b"\x89PNG\r\n\x1a\n"
_HEAD = 512  # bytes that are looked at
_SERVER = "the server sent it in place of the file; log in, accept the licence, get it again"
# How such a file begins, what it is, and what to do.
_DAMAGED: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"version https://git-lfs",), "a Git LFS pointer", "run `git lfs pull` in its folder"),
    ((b"<",), "a web page or XML", _SERVER),
    ((b"{", b"["), "JSON text", _SERVER),
    ((bytes(16),), "zeros", "the download was not finished; get it again"),
)
_OTHERS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"GGUF", b"GGML", b"ggjt"), "a file of llama.cpp (GGUF)", "take the same weights as safetensors"),
    ((b"\x89HDF\r\n",), "an HDF5 file, as Keras writes it", "take the same weights as safetensors"),
    ((b"\x93NUMPY",), "an array of NumPy", "take the same weights as safetensors"),
    ((b"\x08\x07\x12", b"\x08\x08\x12", b"\x08\x0a\x12"), "an ONNX model", "take the same weights as safetensors"),
    ((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!"), "a compressed archive",
     "unpack it, and give a file in it"),
    ((PNG, b"\xff\xd8\xff", b"RIFF", b"GIF8", b"%PDF"), "a picture or a document", "give a file of weights"),
)  # fmt: skip


def format_of(file: Path) -> str:
    """SAFETENSORS or TORCH, by the first bytes of a file; an error that says what it is instead."""
    head = read_head(file)
    if not head:
        raise DamagedError(f"{file} is empty; get it again")
    if head[8:9] == b"{":
        return SAFETENSORS
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return TORCH
    for error, known in ((DamagedError, _DAMAGED), (UnsupportedError, _OTHERS)):
        for starts, what, help_ in known:
            if head.startswith(starts) or (len(starts[0]) == 1 and head.lstrip().startswith(starts)):
                raise error(f"{file} is {what}, not weights: {help_}")
    if file.suffix == ".safetensors":
        return SAFETENSORS  # its reader says what is wrong
    raise UnsupportedError(f"{file} is not a weights file: neither safetensors nor written by torch.save")


def read_head(file: Path) -> bytes:
    """The first bytes of a regular file."""
    check_regular(file)
    with file_errors(file), file.open("rb") as stream:
        return stream.read(_HEAD)
