"""Inpainting: the known region is returned exactly, and the rest is drawn."""

import pytest
import torch
from tests.mixture import THREE
from torch import Tensor

from scorefield.core import gauge, grid, noise_schedule
from scorefield.core.noise import per_sample
from scorefield.guide.gradient import loss_guided
from scorefield.guide.inpaint import known
from scorefield.sample.ancestral import euler_ancestral
from scorefield.sample.samplers import SAMPLERS, SamplerRecord

SEEDS = range(6)
PICTURE = torch.tensor([0.8, -0.3], dtype=torch.float64)
MASK = torch.tensor([1.0, 0.0], dtype=torch.float64)
LEVELS = grid.levels(gauge.rf, grid.trailing(noise_schedule.flow())(12))


@pytest.mark.parametrize("record", [one for one in SAMPLERS if one.name != "optimise"], ids=lambda one: one.name)
def test_every_sampler_returns_the_known_region_and_draws_the_rest(record: SamplerRecord) -> None:
    """Exactly, or to rounding where the last step mixes earlier predictions in."""
    run = per_sample(SEEDS, (2,))
    *_, last = record.sampler(known(THREE, PICTURE, MASK), run.initial.double(), LEVELS, run.step)
    assert torch.isfinite(last.x).all()
    assert (last.x[:, 0] - PICTURE[0]).abs().max() <= (1e-13 if record.name == "lms" else 0)
    assert last.x[:, 1].std() > 0.05


def test_a_mask_of_ones_is_the_picture_and_of_zeros_the_denoiser() -> None:
    at, x = gauge.vp(0.3), torch.randn(3, 2, dtype=torch.float64)
    assert torch.equal(known(THREE, PICTURE, torch.ones(2))(x, at), PICTURE.expand(3, 2))
    assert torch.equal(known(THREE, PICTURE, torch.zeros(2))(x, at), THREE(x, at))


def test_a_soft_mask_mixes() -> None:
    at, x = gauge.vp(0.3), torch.randn(3, 2, dtype=torch.float64)
    got = known(THREE, PICTURE, torch.full((2,), 0.25, dtype=torch.float64))(x, at)
    assert torch.isfinite(got).all()
    assert (got - (0.25 * PICTURE + 0.75 * THREE(x, at))).abs().max() < 1e-14


def test_the_rest_listens_to_what_is_known_and_more_so_with_a_gradient() -> None:
    """At a first coordinate of -1.2 only the second component is likely, so the second coordinate is near its 0.3."""
    picture = torch.tensor([-1.2, 0.0], dtype=torch.float64)

    def loss(x0: Tensor) -> Tensor:
        return ((x0 - picture) * MASK).square().sum(-1) / 2

    pulled = loss_guided(THREE, loss, lambda at: (at.alpha**2 + at.sigma**2) / at.sigma**2, exact=True)
    away = []
    for denoise in (THREE, known(THREE, picture, MASK), known(pulled, picture, MASK)):
        run = per_sample(range(300), (2,))
        *_, last = euler_ancestral(denoise, run.initial.double(), LEVELS, run.step)
        assert torch.isfinite(last.x).all()
        away.append((last.x[:, 1] - 0.3).abs().mean().item())
    assert away[1] < 0.85 * away[0]
    assert away[2] < 0.75 * away[0]


def test_it_composes_outside_of_other_guidance() -> None:
    at, x = gauge.rf(0.3), torch.randn(3, 2, dtype=torch.float64)
    guided = loss_guided(THREE, lambda x0: (x0 - 5).square().sum(-1), 0.2, exact=True)
    got = known(guided, PICTURE, MASK)(x, at)
    assert torch.equal(got[:, 0], PICTURE[0].expand(3))
    assert torch.equal(got[:, 1], guided(x, at)[:, 1])
