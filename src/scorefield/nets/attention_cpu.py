"""Attention in bfloat16 by attention_cpu.c, if it was compiled and the processor has AVX512-BF16.

It is as precise as torch's kernel: sums and the softmax are float32, attention weights are rounded to bfloat16. It has
no gradient.
"""

import ctypes
from pathlib import Path

import torch
from torch import Tensor

LIBRARY = Path(__file__).with_suffix(".so.1")  # made by hatch_build.py; a plain .so would pass for a Python module
MAX_WIDTH = 512  # of a head; the C file has the same limit


class _View(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("head", ctypes.c_int64),
        ("row", ctypes.c_int64),
    )


class _Job(ctypes.Structure):
    _fields_ = (
        *((name, _View) for name in ("q", "k", "v", "out")),
        *((name, ctypes.c_int64) for name in ("batch", "heads", "queries", "keys", "width")),
        ("scale", ctypes.c_float),
        ("threads", ctypes.c_int64),
        *((name, ctypes.c_int64) for name in ("chunks", "next", "failed")),
    )


def _load(path: Path) -> ctypes.CDLL | None:
    """The compiled library; None if there is none, or if this processor or process cannot run it."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None
    return library if library.attend_supported() else None


_library = _load(LIBRARY)


def available() -> bool:
    """Whether the kernel was compiled and this processor can run it."""
    return _library is not None


def serves(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether `attend` can take these tensors: bfloat16, on a CPU, without a gradient, each row contiguous."""
    if _library is None:
        return False
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        return False
    width = q.shape[-1]
    return width % 2 == 0 and 0 < width <= MAX_WIDTH and k.shape[-2] > 0 and all(map(_readable, (q, k, v)))


def _readable(x: Tensor) -> bool:
    """Whether the kernel can read its memory; a subclass of Tensor may have none."""
    return type(x) is Tensor and x.device.type == "cpu" and x.dtype == torch.bfloat16 and x.stride(-1) == 1


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention (B, H, N, d) of q (B, H, N, d) over k, v (B, H, M, d), for which `serves` must be true.

    It uses torch's number of threads. MemoryError if the packed keys and values, 4 d M bytes per thread, do not fit.
    """
    return _operator(q, k, v) if torch.compiler.is_compiling() else _attend(q, k, v)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    if _library is None:
        raise RuntimeError("there is no attention kernel for this processor")
    batch, heads, queries, width = q.shape
    out = _empty(q, k, v)
    if not out.numel():
        return out
    job = _Job(
        *map(_view, (q, k, v, out)), batch, heads, queries, k.shape[-2], width, width**-0.5, torch.get_num_threads()
    )
    if _library.attend(ctypes.byref(job)):
        raise MemoryError(f"attention over {k.shape[-2]} keys")
    return out


def _empty(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """An empty tensor for the result, with the heads of a position adjacent in memory."""
    batch, heads, queries, width = q.shape
    return q.new_empty(batch, queries, heads, width).transpose(1, 2)


# For compiled networks: the compiler cannot trace C, so it needs an operator and the shape of its result. Others call
# the function directly, since the first call of an operator imports the compiler.
_operator = torch.library.custom_op("scorefield::attend", _attend, mutates_args=(), device_types="cpu")
_operator.register_fake(_empty)


def _view(x: Tensor) -> _View:
    return _View(x.data_ptr(), *x.stride()[:3])
