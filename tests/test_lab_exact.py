"""The exact field of a shape against answers that are known by hand, and the levels of the plane."""

import math

import pytest
import torch
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.level import Level
from scorefield.data import shapes
from scorefield.data.shapes import Shape
from scorefield.lab.plane import levels
from scorefield.lab.plane.exact import posterior_mean, posterior_variance


def shape(nodes: list[list[float]], spread: float) -> Shape:
    """Bare nodes as given: neither centred nor scaled."""
    return Shape(
        name="made",
        nodes=torch.tensor(nodes, dtype=torch.float64),
        spread=spread,
        label=torch.zeros(len(nodes), dtype=torch.long),
    )


def some_states() -> Tensor:
    return torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def close(one: Tensor, other: Tensor) -> None:
    """The same to rounding, and finite."""
    assert one.isfinite().all()
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_of_one_gaussian_the_mean_and_the_variance_are_those_of_two_measurements() -> None:
    one, at, x = shape([[0.5, -1.0]], 0.3), Level(0.8, 0.6), some_states()
    # The node says c with variance s^2, the state says x / alpha with variance (sigma / alpha)^2.
    precision, seen = 1 / 0.3**2, (0.8 / 0.6) ** 2
    close(posterior_mean(one)(x, at), (precision * one.nodes + seen * x / 0.8) / (precision + seen))
    close(posterior_variance(one)(x, at), torch.full((50,), 1 / (precision + seen), dtype=torch.float64))


def test_between_two_bare_points_the_mean_is_a_hyperbolic_tangent() -> None:
    two, at, x = shape([[1.5, 0.0], [-1.5, 0.0]], 0.0), Level(0.8, 0.6), some_states()
    tangent = torch.tanh(0.8 * 1.5 * x[:, 0] / 0.6**2)
    close(posterior_mean(two)(x, at), torch.stack([1.5 * tangent, torch.zeros(50, dtype=torch.float64)], 1))
    close(posterior_variance(two)(x, at), 1.5**2 * (1 - tangent**2) / 2)


def test_of_pure_noise_the_mean_is_that_of_the_data_and_the_variance_too() -> None:
    ring, at, x = shapes.ring(), Level(0.0, 1.0), some_states()
    close(posterior_mean(ring)(x, at), torch.zeros(50, 2, dtype=torch.float64))
    close(posterior_variance(ring)(x, at), torch.ones(50, dtype=torch.float64))


def test_of_a_clean_state_nothing_is_left_to_guess() -> None:
    spiral, x = shapes.spiral(), shapes.spiral().nodes[::100] + 0.01
    close(posterior_mean(spiral)(x, Level(0.5, 0.0)), x / 0.5)
    close(posterior_variance(spiral)(x, Level(0.5, 0.0)), torch.zeros(15, dtype=torch.float64))


def test_bare_points_have_no_mean_without_noise() -> None:
    with pytest.raises(ValueError, match="sigma = 0"):
        posterior_mean(shape([[1.0, 0.0], [-1.0, 0.0]], 0.0))(some_states(), Level(1.0, 0.0))


def test_the_variance_is_the_divergence_of_the_mean() -> None:
    spiral, at, x = shapes.spiral(), levels.level(0.4), some_states().requires_grad_()
    mean = posterior_mean(spiral)(x, at)
    divergence = sum(torch.autograd.grad(mean[:, d].sum(), x, retain_graph=True)[0][:, d] for d in range(2))
    assert isinstance(divergence, Tensor)
    close(posterior_variance(spiral)(x.detach(), at), float(at.sigma) ** 2 / float(at.alpha) * divergence / 2)


def test_many_states_are_answered_as_one_by_one_and_in_their_own_dtype() -> None:
    moons, at = shapes.moons(), levels.level(0.3)
    x = some_states().repeat(30, 1)  # more than are weighed at once
    close(posterior_mean(moons)(x, at)[:50], posterior_mean(moons)(x[:50], at))
    assert posterior_mean(moons)(x.float(), at).dtype == torch.float32


@pytest.mark.parametrize("t", [0.001, 0.25, 0.5, 0.9])
def test_a_level_has_the_share_of_noise_that_it_was_made_of(t: float) -> None:
    at = levels.level(t)
    assert levels.share(at) == pytest.approx(t, abs=1e-12)
    assert float(at.alpha) ** 2 + float(at.sigma) ** 2 == pytest.approx(1, abs=1e-12)
    assert levels.share(gauge.rf(at.lam)) == pytest.approx(t, abs=1e-12)
    one = levels.batch(torch.tensor([t]))
    assert one.sigma == pytest.approx(float(at.sigma), rel=1e-5)


def test_the_ends_of_a_walk_are_clean_and_pure_noise() -> None:
    walk = levels.walk_down(4)
    assert walk[0] == (0.0, 1.0)
    assert walk[-1] == (1.0, 0.0)
    assert [levels.share(at) for at in walk] == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert math.isinf(float(walk[0].lam))
