"""Guidance by gradients against exact posteriors, finite differences and closed forms."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tests.mixture import THREE, Mixture
from torch import Tensor

from scorefield.core import gauge, grid, noise_schedule
from scorefield.core.denoiser import Denoise
from scorefield.core.level import Level
from scorefield.guide.cfg import at_levels, cfg
from scorefield.guide.clip_guidance import clip_guided, dissimilarity
from scorefield.guide.gradient import Loss, classifier_guided, loss_guided
from scorefield.sample.one_step import euler

GAUGES = {"ve": gauge.ve, "vp": gauge.vp, "rf": gauge.rf}
WISH = torch.tensor([0.4, -0.8], dtype=torch.float64)
X = torch.randn(5, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def near(got: Tensor, want: Tensor, bound: float) -> None:
    assert got.shape == want.shape
    assert torch.isfinite(got).all()
    assert torch.isfinite(want).all()
    assert (got - want).abs().max() <= bound


def only(component: int) -> Mixture:
    """THREE given that class: the conditional posterior mean is exact."""
    one = slice(component, component + 1)
    whole = torch.ones(1, dtype=torch.float64)
    return Mixture(weights=whole, means=THREE.means[one], deviations=THREE.deviations[one])


def class_of(component: int) -> Callable[[Tensor, Level], Tensor]:
    """log p(component | x) of THREE at a level, the Bayes classifier."""

    def log_prob(x: Tensor, at: Level) -> Tensor:
        spread = at.alpha**2 * THREE.deviations**2 + at.sigma**2
        away = (x[:, None] - at.alpha * THREE.means).square().sum(-1)
        return (THREE.weights.log() - away / (2 * spread) - spread.log()).log_softmax(-1)[:, component]

    return log_prob


def squared(x0: Tensor) -> Tensor:
    return (x0 - WISH).square().sum(-1) / 2


@pytest.mark.parametrize("name", GAUGES)
@pytest.mark.parametrize("lam", [-3.0, -0.5, 0.0, 1.5])
@pytest.mark.parametrize("component", [0, 1, 2])
def test_the_exact_classifier_turns_the_prior_into_the_posterior(name: str, lam: float, component: int) -> None:
    at = GAUGES[name](lam)
    x = X * (at.alpha**2 + at.sigma**2) ** 0.5
    near(classifier_guided(THREE, class_of(component))(x, at), only(component)(x, at), 1e-12)


def test_classifier_guidance_at_a_scale_is_classifier_free_guidance_at_that_scale() -> None:
    at = gauge.rf(-0.2)
    near(classifier_guided(THREE, class_of(1), 3.5)(X, at), cfg(only(1), THREE, 3.5)(X, at), 1e-12)


def test_at_pure_noise_gradients_through_the_state_are_left_out() -> None:
    at = Level(0.0, 1.0)
    near(classifier_guided(THREE, class_of(1))(X, at), THREE(X, at), 0)
    near(loss_guided(THREE, squared, 2.0, exact=True)(X, at), THREE(X, at), 0)
    near(loss_guided(THREE, squared, 0.5)(X, at), THREE(X, at) - 0.5 * (THREE(X, at) - WISH), 1e-12)


@pytest.mark.parametrize("name", GAUGES)
@pytest.mark.parametrize("exact", [False, True])
def test_both_paths_are_the_posterior_step_for_unit_normal_data(name: str, exact: bool) -> None:
    def unit(x: Tensor, at: Level) -> Tensor:
        return at.alpha / (at.alpha**2 + at.sigma**2) * x

    at = GAUGES[name](-0.7)
    x0, variance = unit(X, at), at.sigma**2 / (at.alpha**2 + at.sigma**2)
    near(loss_guided(unit, squared, 0.3, exact)(X, at), x0 - 0.3 * variance * (x0 - WISH), 1e-12)


def test_the_exact_path_is_the_gradient_through_the_network_by_finite_differences() -> None:
    at, h = gauge.vp(-0.3), 1e-5
    slopes = [
        (squared(THREE(X + step, at)) - squared(THREE(X - step, at))) / (2 * h)
        for step in h * torch.eye(2, dtype=torch.float64)
    ]
    want = THREE(X, at) - 0.8 * at.sigma**2 / at.alpha * torch.stack(slopes, -1)
    near(loss_guided(THREE, squared, 0.8, exact=True)(X, at), want, 1e-8)


def test_the_cheap_path_takes_no_gradient_through_the_network() -> None:
    def opaque(x: Tensor, at: Level) -> Tensor:
        assert not torch.is_grad_enabled()
        return THREE(x, at)

    with torch.no_grad():
        assert torch.isfinite(loss_guided(opaque, squared, 0.8)(X, gauge.vp(0.0))).all()


@pytest.mark.parametrize("exact", [False, True])
def test_a_sample_is_guided_by_its_own_loss_alone(exact: bool) -> None:
    guided, at = loss_guided(THREE, squared, 0.8, exact), gauge.vp(-0.3)
    near(guided(X, at)[2:3], guided(X[2:3], at), 1e-14)


def walk(denoise: Denoise, steps: int = 20) -> Tensor:
    levels = grid.levels(gauge.rf, grid.trailing(noise_schedule.flow())(steps))
    *_, last = euler(denoise, X, levels, lambda at, to: torch.zeros_like(X))
    assert torch.isfinite(last.x).all()
    return last.x


@pytest.mark.parametrize("exact", [False, True])
def test_loss_guidance_brings_the_loss_of_the_result_down(exact: bool) -> None:
    plain, guided = walk(THREE), walk(loss_guided(THREE, squared, 2.0, exact))
    assert (squared(guided) < squared(plain)).all()
    assert squared(guided).mean() < 0.5 * squared(plain).mean()


def test_loss_guidance_at_every_fifth_level_is_weaker_than_at_all_and_stronger_than_none() -> None:
    levels = grid.levels(gauge.rf, grid.trailing(noise_schedule.flow())(20))
    guided = loss_guided(THREE, squared, 2.0)
    some = walk(at_levels(guided, THREE, levels[::5]))
    assert squared(walk(guided)).mean() < squared(some).mean() < squared(walk(THREE)).mean()


def test_the_scale_of_a_loss_may_depend_on_the_level() -> None:
    at = gauge.vp(0.5)
    for exact in (False, True):
        by_level = loss_guided(THREE, squared, lambda level: float(level.sigma), exact)(X, at)
        near(by_level, loss_guided(THREE, squared, at.sigma, exact)(X, at), 0)
        near(loss_guided(THREE, squared, 0.0, exact)(X, at), THREE(X, at), 0)


GUIDES: dict[str, Denoise] = {
    "cheap": loss_guided(THREE, squared, 0.7),
    "exact": loss_guided(THREE, squared, 0.7, exact=True),
    "classifier": classifier_guided(THREE, class_of(1), 2.0),
    "composed": cfg(loss_guided(THREE, squared, 0.7, exact=True), classifier_guided(THREE, class_of(0)), 2.0),
}


@pytest.mark.parametrize("name", GUIDES)
def test_guides_switch_gradients_on_for_themselves_and_leave_none_behind(name: str) -> None:
    with torch.no_grad():
        quiet = GUIDES[name](X, gauge.rf(0.1))
        assert not torch.is_grad_enabled()
    near(quiet, GUIDES[name](X, gauge.rf(0.1)), 0)
    assert not quiet.requires_grad
    assert not X.requires_grad
    assert X.grad is None


@pytest.mark.parametrize("name", GUIDES)
def test_inside_inference_mode_the_error_says_what_to_do(name: str) -> None:
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"use torch\.no_grad"):
        GUIDES[name](X, gauge.rf(0.1))


def test_a_loss_without_a_gradient_is_an_error() -> None:
    for exact in (False, True):
        with pytest.raises(ValueError, match="no gradient to the picture"):
            loss_guided(THREE, lambda x0: squared(x0.detach()), 1.0, exact)(X, gauge.rf(0.1))


@pytest.mark.parametrize("name", GUIDES)
def test_two_threads_with_one_guide_get_what_one_gets(name: str) -> None:
    jobs = [(X + 0.1 * k, gauge.rf(-1 + 0.05 * k)) for k in range(40)]

    def run(job: tuple[Tensor, Level]) -> Tensor:
        with torch.no_grad():
            return GUIDES[name](*job)

    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, jobs))
    for one, other in zip(alone, together, strict=True):
        near(other, one, 0)


def decode(x0: Tensor) -> Tensor:
    return x0.repeat(1, 3)


def embed(pixels: Tensor) -> Tensor:
    return torch.tanh(pixels @ torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(6, 4))


def test_dissimilarity_is_0_along_the_text_and_2_against_it() -> None:
    loss: Loss = dissimilarity(lambda x0: x0, lambda pixels: pixels, torch.tensor([[3.0, 4.0]]))
    near(loss(torch.tensor([[6.0, 8.0], [-3.0, -4.0], [4.0, -3.0]])), torch.tensor([0.0, 2.0, 1.0]), 1e-6)


@pytest.mark.parametrize("exact", [False, True])
def test_clip_guidance_draws_what_is_more_like_the_text(exact: bool) -> None:
    text = torch.tensor([[0.5, -1.0, 0.2, 0.7]], dtype=torch.float64)
    loss = dissimilarity(decode, embed, text)
    plain, guided = walk(THREE), walk(clip_guided(THREE, decode, embed, text, 3.0, exact))
    assert loss(guided).mean() < loss(plain).mean() - 0.1
