"""Noise: unit normals for an interval between two levels, drawn on the CPU in float32.

A policy makes one `Run` from the seeds: the noise to start from and the noise of the steps. They come together because
a second generator of the same seed would repeat the starting noise in the first step.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.core.level import Level
from scorefield.core.name_lookup import canonical
from scorefield.errors import RequestError

Noise = Callable[[Level, Level], Tensor]  # (from, to) -> unit normal (B, ...)

SPAN = 16.0  # the Brownian path covers |lam| <= SPAN: e^-16 is float32's rounding
HALVINGS = 20  # of that span: levels at least 3e-5 apart in lam are jointly exact


class Run(NamedTuple):
    """The noise of one run: `initial` (B, ...) unit normal, and `step`, the noise of an interval.

    `step` holds the run's state (generators): make a new Run for each run, and share none between threads.
    """

    initial: Tensor
    step: Noise


Policy = Callable[[Sequence[int], Sequence[int], torch.device | str], Run]


Source = Callable[[Sequence[int]], Tensor]  # shape -> unit normal on the CPU, another one at each call

_WORD = 2**32  # torch's generator takes the lowest 32 bits of a seed and ignores the others


def source(seed: int) -> Source:
    """The noise of a seed from 0 to 2^64 - 1, each of its own.

    A seed below 2^32 is torch's. A larger one is mixed, so that each bit counts; its halves seed a generator each, and
    the noise is a sum of theirs.
    """
    if seed < _WORD:
        generator = torch.Generator("cpu").manual_seed(seed)
        return lambda shape: torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")
    high, low = map(source, divmod(_mixed(seed), _WORD))
    return lambda shape: 0.6 * high(shape) + 0.8 * low(shape)  # of unit variance, and the halves are not alike


def _mixed(seed: int) -> int:
    """A permutation of the numbers below 2^64 (the last steps of SplitMix64, Steele et al. 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        seed = (seed ^ seed >> shift) * factor % 2**64
    return seed


def initial(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """The unit normal (B, *shape) that each seed starts from."""
    return _draw(list(map(source, seeds)), shape).to(device)


def _draw(sources: Sequence[Source], shape: Sequence[int]) -> Tensor:
    return torch.stack([one(shape) for one in sources])


def per_sample(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Run:
    """One generator a sample, draws in the order of steps: a sample depends on its seed, not on its batch."""
    sources = list(map(source, seeds))
    return Run(_draw(sources, shape).to(device), lambda at, to: _draw(sources, shape).to(device))


def batch(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Run:
    """One generator of the first seed for the whole batch, as diffusers draws when it is given one generator."""
    draw, whole = source(seeds[0]), (len(seeds), *shape)
    return Run(draw(whole).to(device), lambda at, to: draw(whole).to(device))


def brownian(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Run:
    """The noise of every step comes from one Brownian path W for each seed, so the number of steps does not change it.

    W runs in u = e^(2 lam), where the noise that the steps of an SDE add is additive: `step(a, b)` is
    (W(b) - W(a)) / sqrt(u(b) - u(a)). A level beyond |lam| = SPAN counts as one at SPAN.
    """
    path = lru_cache(maxsize=4)(lambda lam: _path(seeds, shape, lam))

    def step(at: Level, to: Level) -> Tensor:
        low, high = (min(max(float(level.lam), -SPAN), SPAN) for level in (at, to))
        if not low < high:
            raise RequestError(f"Brownian noise needs a step towards clean within |lam| < {SPAN:.0f}: {at} to {to}")
        return ((path(high) - path(low)) / math.sqrt(_time(high) - _time(low))).float().to(device)

    return Run(initial(seeds, shape, device), step)


def _time(lam: float) -> float:
    return math.exp(2 * lam) if lam > -SPAN else 0.0


def _path(seeds: Sequence[int], shape: Sequence[int], lam: float) -> Tensor:
    """W (B, *shape) float64 at `lam`, by Brownian bridges over [-SPAN, SPAN], halved again and again.

    Each node of that binary tree has a seed of its own, so that the path is the same in whatever order it is asked for.
    """

    def normal(node: int) -> Tensor:
        return _draw([source(derived(seed, node)) for seed in seeds], shape).double()

    low, high, node = -SPAN, SPAN, 1
    at_low = torch.zeros(len(seeds), *shape, dtype=torch.float64, device="cpu")
    at_high = math.sqrt(_time(SPAN)) * normal(0)

    def bridge(middle: float) -> Tensor:
        start, now, end = _time(low), _time(middle), _time(high)
        share = (now - start) / (end - start)
        return at_low + share * (at_high - at_low) + math.sqrt(share * (end - now)) * normal(node)

    for _ in range(HALVINGS):
        if lam in (low, high):
            return at_low if lam == low else at_high
        middle = (low + high) / 2
        at_middle = bridge(middle)
        if lam < middle:
            high, at_high, node = middle, at_middle, 2 * node
        else:
            low, at_low, node = middle, at_middle, 2 * node + 1
    return bridge(lam)


def derived(seed: int, purpose: int | str) -> int:
    """A seed below 2^32 for another noise of the same sample: `seed` would repeat what its walk starts from."""
    return int.from_bytes(blake2b(f"{seed} {purpose}".encode(), digest_size=8).digest()) % _WORD


POLICIES: Mapping[str, Policy] = MappingProxyType({"per_sample": per_sample, "batch": batch, "brownian": brownian})


def find(name: str) -> Policy:
    """The policy of that name; RequestError with the nearest names for an unknown one."""
    return POLICIES[canonical("noise policy", name, POLICIES, {})]
