"""A model whose network torch compiles for the machine that it runs on."""

from dataclasses import replace

import torch
from torch import Tensor

from scorefield.errors import MachineError
from scorefield.model.system import System
from scorefield.nets import shared_copy
from scorefield.stages.diffusion import only_stage


def compiled(system: System) -> System:
    """`system` with a copy of its network that is compiled at its first step; `system` itself is not changed.

    MachineError if torch cannot compile here, for example without a C++ compiler; one line of arithmetic is the test.
    """
    stage = only_stage(system.stages)
    try:
        torch.compile(_line)(torch.zeros(8, device=system.device))
    except RuntimeError as error:
        raise MachineError(
            f"torch cannot compile here ({_cause(error)}); install a C++ compiler, or draw without compiling"
        ) from None
    was = stage.denoiser
    made = was.with_net(shared_copy.compiled(was.net))
    return replace(
        system,
        stages=(replace(stage, denoiser=made),),
        choice=system.choice.model_copy(update={"compiled": True}),
    )


def _line(x: Tensor) -> Tensor:
    return x * x + 1


def _cause(error: RuntimeError) -> str:
    """The line of torch's message that says why."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith("raised:")), type(error).__name__).rstrip(". ")
