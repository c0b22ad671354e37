"""Build networks on the device "meta", with names and shapes but no numbers, to be filled from a file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode


class _Undrawn(TorchFunctionMode):
    """Skips `torch.nn.init`: on "meta" it needs torch's compiler, whose import takes a second."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else given["tensor"]
        return func(*args, **given)


@contextmanager
def hollow() -> Iterator[None]:
    """Modules built in this context have shapes but no numbers."""
    with torch.device("meta"), _Undrawn():
        yield
