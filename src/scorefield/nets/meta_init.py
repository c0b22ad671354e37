"""Build networks on the device "meta": names and shapes without numbers, to be filled from a file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode


class _Undrawn(TorchFunctionMode):
    """Leaves out what `torch.nn.init` does: on "meta" it needs torch's compiler, whose import takes a second."""

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
    """Within this, what is built of torch's modules has shapes and no numbers."""
    with torch.device("meta"), _Undrawn():
        yield
