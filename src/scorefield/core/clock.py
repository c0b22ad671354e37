"""Clocks: the number that a network takes for a level."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from scorefield.core.level import Number

Clock = Callable[[Number], Tensor]  # lam -> the number, same shape

LAST_OF_ZERO_SNR = -12 * math.log(2)  # lam at alpha^2 = 2^-24, which diffusers also uses in place of -inf


def _tensor(lam: Number, dtype: torch.dtype = torch.float32) -> Tensor:
    return lam.to(dtype) if isinstance(lam, Tensor) else torch.tensor(lam, dtype=dtype, device="cpu")


def flow(lam: Number) -> Tensor:
    """1000 t, t = sigma of the RF gauge: 0 is clean, 1000 is pure noise."""
    return 1000 * torch.sigmoid(-_tensor(lam))


def flow_whole(lam: Number) -> Tensor:
    """`flow` cut to a whole number, as Wan and diffusers' flow schedulers give it to the network."""
    share = torch.sigmoid(-_tensor(lam, torch.float64))
    return (1000 * share + 1e-6).floor().float()  # 0.999 is 999, however it was rounded


def log_sigma(lam: Number) -> Tensor:
    """EDM's c_noise = log(sigma) / 4 in the VE gauge (Karras et al. 2022, table 1)."""
    return -_tensor(lam) / 4


def discrete(lams: Tensor) -> Clock:
    """The DDPM index, 0 to T - 1, interpolated linearly in lam.

    `lams` (T,) are the training levels, falling from clean to noisy; the last may be -inf (zero terminal SNR).
    """
    rising = torch.where(lams == -math.inf, LAST_OF_ZERO_SNR, lams).flip(0).contiguous()

    def clock(lam: Number) -> Tensor:
        value = _tensor(lam, rising.dtype).clamp(rising[0], rising[-1])
        high = torch.searchsorted(rising, value.contiguous()).clamp(1, len(rising) - 1)
        low = high - 1
        share = (value - rising[low]) / (rising[high] - rising[low])
        return (len(rising) - 1 - (low + share)).float()

    return clock
