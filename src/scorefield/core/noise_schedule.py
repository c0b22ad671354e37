"""Noise schedules: the levels that a model was trained on, numbered from the cleanest to the noisiest.

Tables are float64; published code that uses float32 differs by about 1e-7.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from scorefield.core.clock import LAST_OF_ZERO_SNR


def linear(first: float = 1e-4, last: float = 2e-2, count: int = 1000) -> Tensor:
    """Betas (count,) that rise linearly (Ho et al. 2020). LDM's config calls this "sqrt_linear"."""
    return torch.linspace(first, last, count, dtype=torch.float64, device="cpu")


def scaled_linear(first: float = 0.00085, last: float = 0.012, count: int = 1000) -> Tensor:
    """Betas (count,) whose roots rise linearly (Rombach et al. 2022). LDM's config calls this "linear"."""
    return torch.linspace(first**0.5, last**0.5, count, dtype=torch.float64, device="cpu") ** 2


def cosine(count: int = 1000, largest: float = 0.999) -> Tensor:
    """Betas (count,) of the squared cosine (Nichol & Dhariwal 2021, eq. 17), squaredcos_cap_v2 in diffusers."""
    share = torch.arange(count + 1, dtype=torch.float64, device="cpu") / count
    abar = torch.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - abar[1:] / abar[:-1]).clamp(max=largest)


def sigmoid(first: float = 1e-4, last: float = 2e-2, count: int = 1000) -> Tensor:
    """Betas (count,) on a sigmoid from -6 to 6 (Xu et al. 2022, GeoDiff)."""
    return torch.sigmoid(torch.linspace(-6, 6, count, dtype=torch.float64, device="cpu")) * (last - first) + first


def cumulative(betas: Tensor) -> Tensor:
    """alpha^2 of the VP levels (T,): the running product of 1 - beta, DDPM's alphas_cumprod."""
    return (1 - betas).cumprod(0)


def zero_snr(abar: Tensor) -> Tensor:
    """`abar` (T,) shifted so that the last level is pure noise and the first stays (Lin et al. 2023, algorithm 1)."""
    alpha = abar.sqrt()
    return ((alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])) ** 2


def lams(abar: Tensor) -> Tensor:
    """lam (T,) of the VP levels with alpha^2 = `abar`: the table for `discrete` and `clock.discrete`; 0 gives -inf."""
    return (abar.log() - torch.log1p(-abar)) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladder:
    """The levels that a model was trained on, as rungs from 0 (cleanest) to count - 1 (noisiest)."""

    count: int
    lam: Callable[[float], float]  # of a rung; interpolated between whole rungs
    whole: bool  # the model was trained on whole rungs only

    @property
    def noisiest(self) -> float:
        """lam of the last rung; -inf if the model starts from pure noise."""
        return self.lam(self.count - 1)

    @property
    def cleanest(self) -> float:
        """lam of rung 0, always finite."""
        return self.lam(0)


def discrete(table: Tensor) -> Ladder:
    """The ladder of a model trained on the levels with lam `table` (T,), falling; linear in lam between rungs.

    The last level may be -inf (zero terminal SNR); rungs just before it are interpolated towards LAST_OF_ZERO_SNR.
    """
    values: list[float] = table.tolist()
    if len(values) < 2 or any(not above > below for above, below in pairwise(values)):
        raise ValueError("a noise schedule needs at least two levels, each noisier than the one before")

    def lam(rung: float) -> float:
        if rung >= len(values) - 1:
            return values[-1]
        low = int(max(rung, 0))
        end = values[low + 1] if values[low + 1] > -math.inf else LAST_OF_ZERO_SNR
        return values[low] + (max(rung, 0) - low) * (end - values[low])

    return Ladder(count=len(values), lam=lam, whole=True)


def flow(count: int = 1000) -> Ladder:
    """The ladder of a rectified flow: rung r is t = (r + 1) / count, so the last is pure noise; linear in t."""

    def lam(rung: float) -> float:
        time = (rung + 1) / count
        if time >= 1:
            return -math.inf
        return math.log1p(-time) - math.log(time) if time > 0 else math.inf

    return Ladder(count=count, lam=lam, whole=False)


def shifted(ladder: Ladder, shift: float) -> Ladder:
    """`ladder` moved towards noise: the flow shift t' = s t / (1 + (s - 1) t), which is lam - log(s) in any gauge."""
    if not shift > 0:
        raise ValueError(f"the shift of a ladder must be above 0, got {shift}")
    return replace(ladder, lam=lambda rung: ladder.lam(rung) - math.log(shift))


def log_sigma(lowest: float = 0.002, highest: float = 80.0, count: int = 1000) -> Ladder:
    """The ladder of a model trained on all sigma / alpha in [lowest, highest] (Karras et al. 2022); linear in lam."""
    clean, noisy = -math.log(lowest), -math.log(highest)
    return Ladder(count=count, lam=lambda rung: clean + rung / (count - 1) * (noisy - clean), whole=False)
