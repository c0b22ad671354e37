"""Training losses: the diffusion objective at levels drawn from a training density, and the contrastive loss."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.core import clock, gauge, predict
from scorefield.core.cond import Cond, drop
from scorefield.core.denoiser import Preconditioned
from scorefield.core.gauge import Gauge
from scorefield.core.level import Level, noisy

Density = Callable[[Tensor], Tensor]  # u in (0, 1) -> lam: the inverse distribution function of -lam


def logit_normal(mean: float = 0.0, std: float = 1.0) -> Density:
    """-lam ~ N(mean, std), where -lam is the logit of the flow's time (Esser et al. 2024).

    It is also log sigma (Karras et al. 2022).
    """
    return lambda u: -(mean + std * torch.special.ndtri(u))


def uniform(u: Tensor) -> Tensor:
    """The lam at which the flow's time, sigma of the RF gauge, is uniform in (0, 1)."""
    return -torch.logit(u)


def uniform_lam(low: float, high: float) -> Density:
    """lam uniform in (low, high) (Kingma et al. 2021)."""
    return lambda u: high + (low - high) * u


def stratified(count: int, generator: torch.Generator) -> Tensor:
    """(count,) float64 in (0, 1), one in each of `count` equal intervals, in random order, for less variance."""
    places = torch.randperm(count, generator=generator)
    within = torch.rand(count, generator=generator, dtype=torch.float64)
    return ((places + within) / count).clamp(1e-6, 1 - 1e-6)  # the ends are lam = +-inf


def levels(
    at: Gauge, density: Density, count: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Level:
    """Levels (count,) float32 for one batch in the gauge `at`, stratified over `density`."""
    return at(density(stratified(count, generator)).float().to(device))


def objective(denoiser: Preconditioned, x0: Tensor, cond: Cond, at: Level, eps: Tensor) -> Tensor:
    """The mean squared error (B,) of the network's raw output against its target, for x0 (B, ...).

    This gives each prediction the weighting of its paper: eps (Ho et al. 2020), eps - x0 (Lipman et al. 2022), EDM's
    lambda(sigma) (Karras et al. 2022).
    """
    x = noisy(x0, eps, at)
    error = denoiser.raw(x, at, cond) - predict.target(denoiser.prediction, x, x0, at)
    return error.square().flatten(1).mean(1)


def flow_matching(
    net: nn.Module, x0: Tensor, cond: Cond, empty: Cond, density: Density, generator: torch.Generator
) -> Tensor:
    """The mean error of a network that predicts the flow, for x0 (B, ...) at levels of `density`.

    A tenth of the conditions is replaced by `empty`, which guidance needs (Ho & Salimans 2022).
    """
    cond = drop_some(cond, empty, 0.1, generator)
    at = levels(gauge.rf, density, len(x0), generator, x0.device)
    eps = torch.randn(x0.shape, generator=generator).to(x0.device)
    return objective(Preconditioned(net, predict.flow, clock.flow), x0, cond, at, eps).mean()


def drop_some(cond: Cond, empty: Cond, share: float, generator: torch.Generator) -> Cond:
    """Condition dropout: replace each row by that of `empty` with probability `share` (Ho & Salimans 2022)."""
    first = next(iter(cond.tensors().values()))
    keep = torch.rand(len(first), generator=generator) >= share
    return drop(cond, empty, keep.to(first.device))


def contrastive(image_vectors: Tensor, text_vectors: Tensor, logit_scale: Tensor) -> Tensor:
    """The symmetric cross-entropy, a scalar, of paired rows (B, D) and (B, D) (Radford et al. 2021).

    `logit_scale` is the log of the factor on the cosines, clamped to at most log 100.
    """
    image, text = F.normalize(image_vectors.float(), dim=1), F.normalize(text_vectors.float(), dim=1)
    logits = logit_scale.float().clamp(max=math.log(100)).exp() * image @ text.mT
    pairs = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.mT, pairs)) / 2
