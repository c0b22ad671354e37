"""Every sampler's order, measured: the slope of its error against the exact flow of a mixture, at finite lam."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from tests.mixture import THREE
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.core.noise import Noise
from scorefield.sample.dpmpp import dpmpp_2m
from scorefield.sample.lms import lms
from scorefield.sample.samplers import SAMPLERS, SamplerRecord
from scorefield.sample.unipc import unipc
from scorefield.sample.walk import Sampler, Step

GAUGES = [gauge.ve, gauge.vp, gauge.rf]
NOISY, CLEAN = -2.5, 2.0
COUNTS = (32, 64, 128)


def levels(make: gauge.Gauge, count: int) -> list[Level]:
    return [make(lam) for lam in torch.linspace(NOISY, CLEAN, count + 1, dtype=torch.float64).tolist()]


@functools.cache
def start(make: gauge.Gauge) -> Tensor:
    source, at = torch.Generator().manual_seed(0), make(NOISY)
    return at.alpha * THREE.draw(16, source) + at.sigma * torch.randn(16, 2, generator=source, dtype=torch.float64)


@functools.cache
def exact(make: gauge.Gauge) -> Tensor:
    return THREE.flow(start(make), [make(NOISY), make(CLEAN)])[-1]


def no_noise(at: Level, to: Level) -> Tensor:
    raise AssertionError("an ODE sampler asked for noise")


def slope(run: Callable[[int], Tensor], make: gauge.Gauge, counts: Sequence[int] = COUNTS) -> float:
    ends = [run(count) for count in counts]
    assert all(torch.isfinite(end).all() for end in ends)
    errors = [float((end - exact(make)).square().mean().sqrt()) for end in ends]
    return -float(np.polyfit(np.log(counts), np.log(errors), 1)[0])


def order(sampler: Sampler, make: gauge.Gauge) -> float:
    def run(count: int) -> Tensor:
        *_, last = sampler(THREE, start(make), levels(make, count), no_noise)
        return last.x

    return slope(run, make)


def ode(record: SamplerRecord) -> Sampler:
    takes_eta = "eta" in inspect.signature(record.sampler).parameters
    return functools.partial(record.sampler, eta=0.0) if takes_eta else record.sampler


HELD = [record for record in SAMPLERS if record.name not in ("ddpm", "lms")]  # ddpm has no ODE; lms is below


@pytest.mark.parametrize("make", GAUGES)
@pytest.mark.parametrize("record", HELD, ids=[record.name for record in HELD])
def test_the_order_is_the_declared_one(record: SamplerRecord, make: gauge.Gauge) -> None:
    assert order(ode(record), make) == pytest.approx(record.order, abs=0.15)


@pytest.mark.parametrize("make", GAUGES)
def test_lms_has_at_least_order_two_from_its_euler_start(make: gauge.Gauge) -> None:
    declared = next(record.order for record in SAMPLERS if record.name == "lms")
    assert declared == 2
    assert order(lms, make) >= declared - 0.15


@pytest.mark.parametrize("make", GAUGES)
@pytest.mark.parametrize("wanted", [2, 3, 4])
def test_lms_has_its_full_order_from_an_exact_start(wanted: int, make: gauge.Gauge) -> None:
    def run(count: int) -> Tensor:
        path = levels(make, count)
        states = THREE.flow(start(make), path[:4])
        past = [Step(i, count, path[i], states[i], THREE(states[i], path[i])) for i in range(3)]
        *_, last = lms(THREE, states[3], path[3:], no_noise, order=wanted, past=past)
        return last.x

    assert slope(run, make, (64, 128, 256)) == pytest.approx(wanted, abs=0.15)


@pytest.mark.parametrize("make", GAUGES)
@pytest.mark.parametrize("kind", ["bh1", "bh2"])
def test_unipc_gains_an_order_by_its_corrector(kind: str, make: gauge.Gauge) -> None:
    found = order(functools.partial(unipc, order=2, kind=kind, lower_order_final=False, lower_order_long=False), make)
    assert found == pytest.approx(3, abs=0.15)


def test_a_method_that_is_a_thousandth_off_is_noticed() -> None:
    def off(denoise: Denoise, x: Tensor, path: Sequence[Level], noise: Noise) -> Iterator[Step]:
        return dpmpp_2m(lambda x, at: denoise(x, Level(at.alpha, at.sigma * 1.001)), x, path, noise)

    assert order(off, gauge.rf) < 2 - 0.15
