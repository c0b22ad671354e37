"""A walk that stops with an error at the first NaN or infinity, in place of ending in a black picture."""

from collections.abc import Iterator

import torch
from torch import Tensor

from scorefield.errors import MachineError
from scorefield.sample.walk import Step


class NonFiniteError(MachineError, ArithmeticError):
    """A walk met NaN or infinity; the message names the step, the level, the tensor and the samples of the batch."""


def finite(steps: Iterator[Step]) -> Iterator[Step]:
    """The same steps; NonFiniteError at the first whose x or x0 (B, ...) holds a NaN or an infinity."""
    for step in steps:
        for name, value in (("x, the state", step.x), ("x0, what the denoiser sees in it", step.x0)):
            if not torch.isfinite(value).all():
                raise NonFiniteError(_report(step, name, value))
        yield step


def _report(step: Step, name: str, value: Tensor) -> str:
    bad = ~torch.isfinite(value).flatten(1)
    samples = bad.any(1).nonzero().flatten().tolist()
    share = 100 * bad[samples].float().mean().item()
    alpha, sigma = step.at
    return (
        f"step {step.i} of {step.n}, alpha = {alpha:.6g}, sigma = {sigma:.6g}, lam = {step.at.lam:.4g}: {name} "
        f"({value.dtype}), is not finite in sample {', '.join(map(str, samples))} of the batch ({share:.3g} % of its "
        "numbers); try another dtype or a lower guidance scale"
    )
