"""The network of the families without a time input: PlaneNet's residual layers, with any inputs and outputs."""

import torch
from torch import Tensor, nn

from scorefield.nets.mlp import Waves


class Residual(nn.Module):
    """A residual MLP: (B, inputs) -> (B, outputs), with `waves` sines and cosines of each input added."""

    def __init__(self, inputs: int, outputs: int, *, width: int, depth: int, waves: int = 0) -> None:
        super().__init__()
        self.waves = Waves(waves)
        self.first = nn.Linear(inputs * (1 + 2 * waves), width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        h = self.first(self.waves(x))
        for hidden in self.hidden:
            h = h + hidden(nn.functional.silu(h))
        out: Tensor = self.last(nn.functional.silu(h))
        return out


def quiet(net: Residual) -> Residual:
    """The network with a last layer of zeros, so that a map that depends on it starts as the identity."""
    torch.nn.init.zeros_(net.last.weight)
    torch.nn.init.zeros_(net.last.bias)
    return net
