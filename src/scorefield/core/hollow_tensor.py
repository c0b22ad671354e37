"""Tensors without numbers, and the bytes that they would hold."""

from typing import Any, Protocol

import torch
from torch import Tensor


class Account(Protocol):
    """Where bytes are counted."""

    live: int

    def count(self, size: int) -> None: ...


class Block:
    """Memory that is counted as long as a tensor has it."""

    __slots__ = ("__weakref__", "account", "size")

    def __init__(self, account: Account, size: int) -> None:
        self.account, self.size = account, size
        account.count(size)

    def __del__(self) -> None:
        self.account.live -= self.size


class Hollow(Tensor):
    """A tensor without numbers, on the device that a run is for; `meta` has its shape and strides."""

    meta: Tensor
    block: Block | None  # None for a parameter, which is not counted
    truth: bool | None  # of a result that code branches on: every number is finite, and none is not

    @staticmethod
    def __new__(cls, meta: Tensor, device: torch.device, block: Block | None, truth: bool | None = None) -> "Hollow":
        made: Hollow = torch.Tensor._make_wrapper_subclass(
            cls,
            meta.size(),
            strides=meta.stride(),
            storage_offset=meta.storage_offset(),
            dtype=meta.dtype,
            device=device,
        )
        made.meta, made.block, made.truth = meta, block, truth
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError("a hollow tensor is used after its run")

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
