"""A model whose network torch compiles for the machine that it runs on."""

from dataclasses import replace

import torch
from torch import Tensor

from scorefield.errors import UnsupportedError
from scorefield.model.system import Model
from scorefield.nets import shared_copy


def compiled(model: Model) -> Model:
    """`model` with a twin of its network that is compiled at its first step; `model` itself is not changed.

    UnsupportedError where nothing can be compiled, as without a C++ compiler; it is tried on one line of arithmetic.
    """
    try:
        torch.compile(_line)(torch.zeros(8, device=model.device))
    except RuntimeError as error:
        raise UnsupportedError(
            f"torch can compile nothing here ({_cause(error)}); install a C++ compiler, or draw without compiling"
        ) from None
    was = model.denoiser
    return replace(model, denoiser=was.with_net(shared_copy.compiled(was.net)), compiled=True)


def _line(x: Tensor) -> Tensor:
    return x * x + 1


def _cause(error: RuntimeError) -> str:
    """The line of torch's many that says why."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith("raised:")), type(error).__name__).rstrip(". ")
