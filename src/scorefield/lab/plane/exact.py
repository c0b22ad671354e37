"""What the best possible network would say: E[x0 | x] of a shape, in closed form."""

import torch
from torch import Tensor

from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.data.shapes import Shape

_ROWS = 1024  # states weighed at once, against all nodes


def posterior_mean(shape: Shape) -> Denoise:
    """The exact Denoise of a shape: states (B, 2) at a scalar level -> E[x0 | x] (B, 2), float64 inside.

    Every node weighs by the likelihood of the state, N(alpha node, alpha^2 spread^2 + sigma^2). ValueError at sigma = 0
    for a shape of bare points, where a state between them is impossible.
    """

    def denoise(x: Tensor, at: Level) -> Tensor:
        parts = torch.split(x.double(), _ROWS)
        return torch.cat([_rows(shape, part, float(at.alpha), float(at.sigma)) for part in parts]).to(x)

    return denoise


def _rows(shape: Shape, x: Tensor, alpha: float, sigma: float) -> Tensor:
    variance = (alpha * shape.spread) ** 2 + sigma**2
    if variance == 0:
        raise ValueError("bare points have no posterior mean at sigma = 0; ask at a level with some noise")
    distance = torch.cdist(x, alpha * shape.nodes, compute_mode="donot_use_mm_for_euclid_dist").square()
    mean = (-distance / (2 * variance)).softmax(1) @ shape.nodes
    # Within a node's Gaussian the state pulls the mean its way.
    return mean + alpha * shape.spread**2 / variance * (x - alpha * mean)
