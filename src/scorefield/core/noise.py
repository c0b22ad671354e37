"""Noise: unit normals for an interval between two levels, drawn on the CPU in float32.

A policy makes one `Run` from the seeds: the initial noise and the noise of the steps. They come together because a
second generator with the same seed would repeat the initial noise in the first step.
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
HALVINGS = 20  # of that span: exact for levels at least 3e-5 apart in lam


class Run(NamedTuple):
    """The noise of one run: `initial` (B, ...) unit normal, and `step`, the noise of an interval.

    `step` holds generators: make a new Run for each run, and do not share one between threads.
    """

    initial: Tensor
    step: Noise


Policy = Callable[[Sequence[int], Sequence[int], torch.device | str], Run]


Source = Callable[[Sequence[int]], Tensor]  # shape -> unit normal on the CPU, a new one at each call

_WORD = 2**32  # torch's generator takes the lowest 32 bits of a seed and ignores the others


def source(seed: int) -> Source:
    """The noise of a seed from 0 to 2^64 - 1, different for every seed.

    Seeds below 2^32 go to torch's generator. A larger one is mixed, so that each bit counts; each half seeds a
    generator, and the noise is a weighted sum of theirs.
    """
    if seed < _WORD:
        generator = torch.Generator("cpu").manual_seed(seed)
        return lambda shape: torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")
    high, low = map(source, divmod(_mixed(seed), _WORD))
    return lambda shape: 0.6 * high(shape) + 0.8 * low(shape)  # unit variance; unequal, so that swapped halves differ


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
    """One generator per sample, drawn from in the order of steps: a sample depends on its seed, not on its batch."""
    sources = list(map(source, seeds))
    return Run(_draw(sources, shape).to(device), lambda at, to: _draw(sources, shape).to(device))


def batch(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Run:
    """One generator with the first seed for the whole batch, like diffusers with a single generator."""
    draw, whole = source(seeds[0]), (len(seeds), *shape)
    return Run(draw(whole).to(device), lambda at, to: draw(whole).to(device))


def brownian(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Run:
    """One Brownian path W per seed for the noise of all steps, so that it does not depend on the number of steps.

    W runs in u = e^(2 lam), where the noise of an SDE's steps is additive: `step(a, b)` is
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
    """W (B, *shape) float64 at `lam`, by Brownian bridges over repeated halvings of [-SPAN, SPAN].

    Each node of that binary tree has its own seed, so the path does not depend on the order of calls.
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
    """A seed below 2^32 for further noise of the same sample: `seed` itself would repeat the initial noise."""
    return int.from_bytes(blake2b(f"{seed} {purpose}".encode(), digest_size=8).digest()) % _WORD


POLICIES: Mapping[str, Policy] = MappingProxyType({"per_sample": per_sample, "batch": batch, "brownian": brownian})


def find(name: str) -> Policy:
    """The policy of that name; RequestError with the nearest names for an unknown one."""
    return POLICIES[canonical("noise policy", name, POLICIES, {})]
