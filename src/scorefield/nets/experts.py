"""Two networks that divide the times of a walk between them, as those of Wan 2.2's A14B do."""

from typing import Any

import torch
from torch import Tensor, nn


class Experts(nn.Module):
    """`high` for times of at least `boundary`, `low` for earlier ones, which are cleaner.

    Only the one that a time belongs to runs, so the other need not be in memory.
    """

    def __init__(self, high: nn.Module, low: nn.Module, boundary: float) -> None:
        super().__init__()
        self.high, self.low, self.boundary = high, low, boundary

    def forward(self, x: Tensor, time: Tensor, **cond: Tensor) -> Tensor:
        """The answer of each sample's expert to x (B, ...) at `time` (B,); the fields of `cond` are (B, ...)."""
        noisy = time >= self.boundary
        both = (self.high, noisy), (self.low, ~noisy)
        for net, rows in both:
            if rows.all():
                whole: Tensor = net(x, time, **cond)
                return whole
        parts = [net(x[rows], time[rows], **{name: one[rows] for name, one in cond.items()}) for net, rows in both]
        order = torch.cat([rows.nonzero().flatten() for _, rows in both])
        return torch.cat(parts)[order.argsort()]

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile each expert by itself: which one runs depends on numbers, where compiled code would end."""
        for net in (self.high, self.low):
            net.compile(*args, **kwargs)
