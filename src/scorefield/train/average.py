"""Exponential moving average of the weights."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn


def ramp(decay: float, step: int) -> float:
    """The decay of update `step` = 1, 2, ...: lower at first, so that the random initial weights fade quickly."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update(ema: nn.Module, module: nn.Module, decay: float) -> None:
    """ema = decay * ema + (1 - decay) * module for parameters (float32); buffers are copied."""
    torch._foreach_lerp_(list(ema.parameters()), list(module.parameters()), 1 - decay)
    for mean, buffer in zip(ema.buffers(), module.buffers(), strict=True):
        mean.copy_(buffer)


class Average(Protocol):
    """The running average of a module's trained parameters, on one process or in shards on several."""

    def update(self, step: int) -> None:
        """Include the weights after update `step` = 1, 2, ..."""

    def applied(self) -> AbstractContextManager[None]:
        """A context in which the module holds the average and is in eval mode; afterwards it is restored."""

    def tensors(self) -> Mapping[str, Tensor]:
        """The averages by parameter name, to be saved or to be filled from a saved state."""


class WeightAverage:
    """The Average of a module on one process.

    It holds one tensor for each trained parameter. Frozen parameters and buffers are the module's.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self._live = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._means = {name: p.detach().clone() for name, p in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        weight = 1 - ramp(self._decay, step)
        torch._foreach_lerp_(list(self._means.values()), list(self._live.values()), weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        training = [module for module in self._module.modules() if module.training]
        live = {name: p.data for name, p in self._live.items()}
        try:
            for name, p in self._live.items():
                p.data = self._means[name]
            self._module.eval()
            yield
        finally:
            for name, p in self._live.items():
                p.data = live[name]
            for module in training:
                module.training = True

    def tensors(self) -> Mapping[str, Tensor]:
        return self._means
