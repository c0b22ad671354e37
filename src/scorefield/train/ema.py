"""Exponential moving average of the weights."""

import torch
from torch import nn


def ramp(decay: float, step: int) -> float:
    """The decay of update `step` = 1, 2, ...: less at first, so that the random initial weights are soon forgotten."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update(ema: nn.Module, module: nn.Module, decay: float) -> None:
    """ema = decay * ema + (1 - decay) * module for parameters (float32); buffers are copied."""
    torch._foreach_lerp_(list(ema.parameters()), list(module.parameters()), 1 - decay)
    for mean, buffer in zip(ema.buffers(), module.buffers(), strict=True):
        mean.copy_(buffer)
