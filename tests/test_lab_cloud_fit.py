"""What several experiments of the plane share: the network learned once, and the measures."""

import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from scorefield.core.cond import Cond
from scorefield.core.denoiser import Preconditioned
from scorefield.core.level import Level
from scorefield.data import shapes
from scorefield.data.shapes import Shape
from scorefield.lab.experiment import T
from scorefield.lab.plane import cloud_fit, levels
from scorefield.lab.plane.learn import Training, learned

SHORT = Training(steps=3, batch=16, width=8)


def seen(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    return items


def said(denoiser: Preconditioned) -> torch.Tensor:
    return denoiser(torch.ones(1, 2), levels.level(0.5), Cond())


def test_a_named_shape_is_learned_once_whoever_watches() -> None:
    assert learned("ring", SHORT, 5) is learned("ring", SHORT, 5, seen)
    assert learned("ring", SHORT, 5) is not learned("ring", SHORT, 6)
    assert learned("ring", SHORT, 5) is not learned("moons", SHORT, 5)


def test_a_file_is_learned_again_when_its_points_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "spiral.csv"
    path.write_text("0,0\n1,1\n")
    before = said(learned(str(path), SHORT, 5))
    assert torch.equal(before, said(learned(str(path), SHORT, 5)))
    path.write_text("0,3\n1,1\n")
    assert not torch.equal(before, said(learned(str(path), SHORT, 5)))


def test_points_on_nodes_are_at_no_distance_and_others_at_that_of_the_nearest() -> None:
    nodes = torch.tensor([[0.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    shape = Shape(name="two", nodes=nodes, spread=0.0, label=torch.zeros(2, dtype=torch.long))
    x = torch.tensor([[[0.0, 0.0], [3.0, 4.0]], [[1.0, 0.0], [2.5, 0.0]]])
    assert torch.allclose(cloud_fit.distance(shape, x), torch.tensor([[0.0, 4.0], [1.0, 0.5]]))


def test_spread_is_one_for_data_whatever_its_place_and_none_for_one_point() -> None:
    x, _ = shapes.find("spiral").draw(20_000, torch.Generator().manual_seed(0))
    assert cloud_fit.spread(x + 100) == pytest.approx(1, abs=0.02)
    assert cloud_fit.spread(torch.ones(50, 2)) == 0


def test_noised_data_has_the_variance_of_its_level() -> None:
    at = levels.level(0.3)
    x = cloud_fit.noised(shapes.find("moons"), 20_000, at, torch.Generator().manual_seed(0))
    assert cloud_fit.spread(x) == pytest.approx(math.hypot(at.alpha, at.sigma), abs=0.02)
    assert cloud_fit.spread(cloud_fit.noised(shapes.find("moons"), 20_000, Level(1.0, 3.0), torch.Generator())) > 3


def test_misfit_of_data_is_what_chance_makes_of_it_and_that_of_a_moved_cloud_is_its_move() -> None:
    shape = shapes.find("ring")
    generator = torch.Generator().manual_seed(0)
    chance = cloud_fit.chance(shape, 300, 16, generator)
    clouds = torch.stack([shape.draw(300, generator)[0] for _ in range(16)])
    assert 0.75 < cloud_fit.misfit(shape, clouds, generator) / chance < 1.33
    # A shift by d is seen as d |cos| of the angle to each direction: d / sqrt(2) in the root of the mean square.
    assert cloud_fit.misfit(shape, clouds + torch.tensor([3.0, 0.0]), generator) == pytest.approx(3 / 2**0.5, rel=0.05)


def test_chance_falls_with_the_root_of_the_points() -> None:
    # Of one Gaussian: between separate parts it falls only with the fourth root.
    nodes = torch.zeros(1, 2, dtype=torch.float64)
    shape = Shape(name="one", nodes=nodes, spread=1.0, label=torch.zeros(1, dtype=torch.long))
    few, many = (cloud_fit.chance(shape, count, 24, torch.Generator().manual_seed(0)) for count in (100, 900))
    assert 2.3 < few / many < 3.7


def test_levels_that_slow_down_end_clean_and_lie_ever_closer() -> None:
    passed = [levels.share(at) for at in levels.slowing_down(10)]
    gaps = [before - after for before, after in pairwise(passed)]
    assert (passed[0], passed[-1]) == (1, 0)
    assert gaps == sorted(gaps, reverse=True)
