"""The experiments of the walk back: spiral, ddpm, ddim, flow."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scorefield.core import gauge
from scorefield.core.cond import Cond
from scorefield.core.level import Level
from scorefield.data import shapes
from scorefield.lab.experiment import Experiment, R, S
from scorefield.lab.plane import cloud_fit, ddim, ddpm, flow, learn, levels, spiral
from scorefield.lab.plane.exact import posterior_mean

NODE = (0.7, -0.4)
SPREAD = 0.3
LOOK = learn.Training(steps=5, batch=16)


def gaussian() -> shapes.Shape:
    """One Gaussian: all about it has a formula."""
    node = torch.tensor([NODE], dtype=torch.float64)
    return shapes.Shape(name="one", nodes=node, spread=SPREAD, label=torch.zeros(1, dtype=torch.long))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_ddpm_ends_at_the_gaussian_and_without_its_noise_at_one_point() -> None:
    denoise = posterior_mean(gaussian())
    start = torch.randn(4000, 2, generator=seeded())
    passed = levels.walk_down(200, start=ddpm.START)
    end = ddpm.states(denoise, start, passed, seeded(1))[-1]
    assert torch.allclose(end.mean(0), torch.tensor(NODE), atol=0.03)
    assert cloud_fit.spread(end) == pytest.approx(SPREAD, rel=0.05)
    bare = ddpm.states(denoise, start, passed, None)[-1]
    assert torch.allclose(bare.mean(0), torch.tensor(NODE), atol=0.03)
    assert cloud_fit.spread(bare) < SPREAD / 10


def test_a_step_of_ddpm_is_its_learned_half_and_noise_of_the_published_size() -> None:
    passed = levels.walk_down(10, start=ddpm.START)
    way, means = ddpm.halves(posterior_mean(gaussian()), torch.zeros(20_000, 2), passed, seeded())
    assert way.shape == (11, 20_000, 2)
    assert means.shape == (10, 20_000, 2)
    for k, (at, to) in enumerate(itertools.pairwise(passed)):
        beta = 1 - (at.alpha / to.alpha) ** 2  # Ho et al. 2020, eq. 7: the variance of q(x' | x, x0)
        fresh = math.sqrt(to.sigma**2 / at.sigma**2 * beta)
        assert float((way[k + 1] - means[k]).square().mean().sqrt()) == pytest.approx(fresh, rel=0.02, abs=1e-7)


def test_the_ode_has_the_marginals_of_the_noisy_gaussian_and_its_noise_free_cousin_has_not() -> None:
    shape = gaussian()
    denoise = posterior_mean(shape)
    start = torch.randn(4000, 2, generator=seeded())
    k = 100
    at = levels.walk_down(200, start=ddim.START)[k]
    expected = math.hypot(at.alpha * SPREAD, at.sigma)
    for sampler, source in ((ddim.ode, None), (ddim.sde, seeded(1))):
        middle = ddim.states(sampler, denoise, start, 200, source)[k]
        assert cloud_fit.spread(middle) == pytest.approx(expected, rel=0.05)
        assert torch.allclose(middle.mean(0), at.alpha * torch.tensor(NODE), atol=0.05)
    assert cloud_fit.spread(ddim.states(ddim.sde, denoise, start, 200, None)[k]) < expected / 10


def test_a_straight_way_has_bend_one_and_a_half_circle_half_of_pi() -> None:
    share = torch.linspace(0, 1, 501)[:, None, None]
    line = share * torch.tensor([[3.0, 4.0], [-1.0, 0.0]])
    assert flow.bend(line) == pytest.approx(1, abs=1e-6)
    half = torch.cat([(math.pi * share).cos(), (math.pi * share).sin()], 2)
    assert flow.bend(half) == pytest.approx(math.pi / 2, abs=1e-4)


def test_the_ways_of_three_gauges_are_one_and_those_of_two_fields_are_two() -> None:
    eps = torch.randn(50, 2, generator=seeded())
    vp = levels.slowing_down(20, start=flow.START)
    rf = [gauge.rf(at.lam) for at in vp]
    denoise = posterior_mean(gaussian())
    in_vp, in_rf = (flow.walked(denoise, float(passed[0].sigma) * eps, passed) for passed in (vp, rf))
    assert torch.allclose(flow.moved(in_vp, vp, rf), in_rf, atol=1e-5)
    assert not torch.allclose(in_vp, in_rf, atol=1e-2)

    def wrong(x: Tensor, at: Level) -> Tensor:  # a field that knows its gauge
        return denoise(x, at) * float(at.alpha)

    in_vp, in_rf = (flow.walked(wrong, float(passed[0].sigma) * eps, passed) for passed in (vp, rf))
    assert not torch.allclose(flow.moved(in_vp, vp, rf), in_rf, atol=1e-2)


def test_training_is_the_same_in_both_gauges_only_for_a_network_that_sees_one_scale() -> None:
    denoiser = learn.learned("ring", LOOK, 0)
    x0, eps = torch.randn(2, 100, 2, generator=seeded())
    assert flow.losses_apart(denoiser, x0, eps, seeded()) < 1e-4

    scales = denoiser.prediction

    class Blind(learn.Preconditioned):
        def raw(self, x: Tensor, at: Level, cond: Cond) -> Tensor:
            return x

    assert flow.losses_apart(Blind(denoiser.net, scales, denoiser.clock), x0, eps, seeded()) > 0.01


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("points") / "points.csv"
    path.write_text("x,y\n0,0\n1,0\n0,2\n3,1\n")
    return str(path)


def small(experiment: Experiment[S, R], shape: str, panels: int) -> None:
    """Run it small on a shape; its numbers are finite, its figure is whole, and so are the frames of its animation."""
    given = {"spiral": {"steps": 4, "clouds": 1}, "ddpm": {"steps": 4, "clouds": 1}, "ddim": {"clouds": 1}}
    more = given.get(experiment.name, {"steps": 4})
    outcome = experiment(shape=shape, points=100, training=3, **more)
    assert len(outcome.figure.axes) == panels
    shown = outcome.animation()
    assert shown is not None
    frames = list(itertools.islice(shown.frames, 3))
    assert {frame.size for frame in frames} == {frames[0].size}
    assert all(side % 2 == 0 for side in frames[0].size)
    assert frames[0].tobytes() != frames[2].tobytes()
    assert not outcome.held  # an untrained network draws nothing


def test_each_runs_on_any_shape_and_an_untrained_network_does_not_pass(points: str) -> None:
    small(spiral.spiral, "ring", 8)
    small(spiral.spiral, points, 8)
    small(ddpm.ddpm, "moons", 10)
    small(ddpm.ddpm, points, 10)


def test_ddim_runs_on_any_shape_and_an_untrained_network_does_not_pass(
    points: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddim, "PAIRS", 2)
    small(ddim.ddim, points, 17)


def test_flow_is_ddim_even_for_an_untrained_network(points: str) -> None:
    for shape in ("checkerboard", points):
        outcome = flow.flow(shape=shape, points=100, steps=8, training=3)
        assert outcome.numbers["largest_difference_of_gauges"] < 1e-4
        assert outcome.numbers["pairs_bend_in_rf"] == pytest.approx(1, abs=1e-5)
        assert outcome.numbers["pairs_bend_in_vp"] > 1.05
        assert len(outcome.figure.axes) == 4
    shown = outcome.animation()
    assert shown is not None
    assert {frame.size for frame in itertools.islice(shown.frames, 2)} == {(800, 430)}
