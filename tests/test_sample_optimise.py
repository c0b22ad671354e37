"""Sampling as optimisation: plain descent is Euler, others have their momentum, and each sample may stop early."""

import functools

import pytest
import torch
from tests.mixture import THREE, Mixture
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.level import Level
from scorefield.sample.one_step import euler
from scorefield.sample.optimise import optimise
from scorefield.sample.walk import Sampler, Step

SHAPE = (6, 2)
LEVELS = [Level(1 - s, s) for s in torch.linspace(1, 0, 16, dtype=torch.float64).tolist()]
SHARP = Mixture(weights=THREE.weights, means=THREE.means, deviations=THREE.deviations / 40)  # pictures are points here
MOMENTUM = functools.partial(torch.optim.SGD, lr=0.3, momentum=0.8)


def no_noise(at: Level, to: Level) -> Tensor:
    raise AssertionError("optimise draws no noise")


def run(sampler: Sampler, levels: list[Level] = LEVELS, rows: slice = slice(None)) -> list[Step]:
    x = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    steps = list(sampler(SHARP, x[rows], levels, no_noise))
    assert all(torch.isfinite(step.x).all() for step in steps)
    return steps


@pytest.mark.parametrize("make", [gauge.ve, gauge.vp, gauge.rf])
def test_plain_descent_is_euler(make: gauge.Gauge) -> None:
    levels = [make(lam) for lam in torch.linspace(-3, 3, 12, dtype=torch.float64).tolist()]
    for ours, theirs in zip(run(optimise, levels), run(euler, levels), strict=True):
        torch.testing.assert_close(ours.x, theirs.x, rtol=1e-12, atol=1e-12)


def test_plain_descent_is_euler_from_pure_noise_to_clean() -> None:
    for ours, theirs in zip(run(optimise), run(euler), strict=True):
        torch.testing.assert_close(ours.x, theirs.x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "optimiser",
    [
        MOMENTUM,
        functools.partial(torch.optim.Adam, lr=1.2, betas=(0.5, 0.9)),
        functools.partial(torch.optim.AdamW, lr=1.2, betas=(0.5, 0.9), weight_decay=0.01),
        functools.partial(torch.optim.RMSprop, lr=0.8, alpha=0.9),
        functools.partial(torch.optim.NAdam, lr=1.2, betas=(0.5, 0.9)),
    ],
    ids=["momentum", "adam", "adamw", "rmsprop", "nadam"],
)
def test_other_optimisers_take_another_way_to_the_data(optimiser: functools.partial[torch.optim.Optimizer]) -> None:
    steps = run(functools.partial(optimise, optimiser=optimiser))
    assert float((steps[8].x - run(euler)[8].x).abs().max()) > 0.01
    nearest = torch.cdist(steps[-2].x0, SHARP.means).amin(1)  # what the last evaluation saw
    assert float(nearest.max()) < 0.2


def test_a_sample_whose_noise_is_small_stops_and_keeps_its_picture() -> None:
    small = 0.35
    steps = run(functools.partial(optimise, small=small))
    assert steps[-1].i == steps[-1].n == len(LEVELS) - 1
    assert steps[-1].at == LEVELS[-1]
    assert len(steps) < len(LEVELS) - 1
    quiet = steps[-2]
    sizes = (quiet.x / quiet.at.alpha - quiet.x0).square().mean(1).sqrt()
    assert float(sizes.max()) < small
    torch.testing.assert_close(steps[-1].x, quiet.x0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimiser", [MOMENTUM, functools.partial(torch.optim.Adam, lr=1.0)], ids=["momentum", "adam"])
def test_samples_stop_each_for_itself(optimiser: functools.partial[torch.optim.Optimizer]) -> None:
    early = functools.partial(optimise, optimiser=optimiser, small=0.3)
    together = run(early)
    alone = [run(early, rows=slice(row, row + 1)) for row in range(SHAPE[0])]
    assert len({len(steps) for steps in alone}) > 1
    for row, steps in enumerate(alone):
        torch.testing.assert_close(together[-1].x[row], steps[-1].x[0], rtol=1e-12, atol=1e-12)


def test_an_optimiser_that_wants_a_closure_is_refused() -> None:
    with pytest.raises(ValueError, match="LBFGS evaluates more than once per step"):
        run(functools.partial(optimise, optimiser=torch.optim.LBFGS))
