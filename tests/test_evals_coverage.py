"""Coverage and precision on clouds whose answers are known."""

import math

import pytest
import torch

from scorefield.evals.coverage import coverage, nearest, precision, radius_of

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def test_a_cloud_that_drops_half_of_the_modes_covers_half_and_is_precise() -> None:
    samples = CORNERS[:2].repeat(50, 1)
    assert coverage(samples, CORNERS, 0.1) == 0.5
    assert precision(samples, CORNERS, 0.1) == 1.0


def test_a_cloud_that_smears_covers_all_and_is_not_precise() -> None:
    samples = torch.cartesian_prod(torch.linspace(-1, 2, 31), torch.linspace(-1, 2, 31))
    assert coverage(samples, CORNERS, 0.11) == 1.0
    assert precision(samples, CORNERS, 0.11) == 4 * 5 / 31**2  # a corner and its four neighbours


def test_nearest_is_the_same_over_the_border_of_its_parts() -> None:
    points, others = torch.randn(2500, 2), torch.randn(7, 2)
    expected = (points[:, None].double() - others.double()).norm(dim=2).min(1).values
    torch.testing.assert_close(nearest(points, others), expected, rtol=0, atol=1e-7)


def test_the_radius_leaves_the_given_share_near() -> None:
    points = torch.stack([torch.arange(101.0), torch.zeros(101)], 1)
    assert radius_of(points, torch.zeros(1, 2), 0.9) == pytest.approx(90.0)


def test_samples_that_are_not_finite_are_near_to_nothing() -> None:
    samples = torch.tensor([[math.nan, 0.0], [math.inf, 0.0], [0.0, 0.0]])
    assert precision(samples, CORNERS, 0.1) == pytest.approx(1 / 3)


def test_nothing_is_near_to_no_points() -> None:
    with pytest.raises(ValueError, match="no other point"):
        nearest(CORNERS, torch.empty(0, 2))
