"""The lab's network for points of the plane: from a point, a time and optionally a class to two numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneConfig:
    """Widths and depths."""

    width: int = 128
    depth: int = 3
    features: int = 32  # sines and cosines of the time
    classes: int = 0  # labels, the last of which may mean none; 0 for a network without labels
    dimensions: int = 2
    waves: int = 0  # sines and cosines of every coordinate, with periods 8, 4, 2, ...


class Waves(nn.Module):
    """Points (B, D), then `count` sines and cosines of each coordinate: (B, D (1 + 2 count)).

    An MLP learns low frequencies of its inputs long before high ones (Tancik et al. 2020); waves give it high ones.
    """

    rates: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("rates", torch.pi / 4 * 2.0 ** torch.arange(count), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The points themselves if there are no waves."""
        if not len(self.rates):
            return x
        angles = (x[..., None] * self.rates).flatten(1)
        return torch.cat([x, angles.sin(), angles.cos()], 1)


class PlaneNet(nn.Module):
    """A residual MLP over points (B, dimensions); every layer also sees the time (B,) in 0..1000, and the label."""

    rates: Tensor

    def __init__(self, config: PlaneConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        # Periods from twice the whole range down to a 64th of it: the field turns within a tenth of the range.
        rates = torch.pi / 1000 * torch.logspace(0, 6, config.features // 2, base=2.0)
        self.register_buffer("rates", rates, persistent=False)
        self.waves = Waves(config.waves)
        self.point = nn.Linear(config.dimensions * (1 + 2 * config.waves), width)
        self.time = nn.Sequential(nn.Linear(config.features, width), nn.SiLU())
        self.label = nn.Embedding(config.classes, width) if config.classes else None
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth))
        self.given = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth))
        self.last = nn.Linear(width, config.dimensions)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """The same shape as `x`; `label` (B,) is for networks with `classes`."""
        angles = time[:, None] * self.rates
        given = self.time(torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype))
        if self.label is not None:
            given = given + self.label(label)
        h = self.point(self.waves(x))
        for hidden, condition in zip(self.hidden, self.given, strict=True):
            h = h + hidden(nn.functional.silu(h + condition(given)))
        out: Tensor = self.last(nn.functional.silu(h))
        return out
