"""Classifier-free guidance: its identities, its one-forward form, its rescale, and where it applies."""

import math

import pytest
import torch
from torch import Tensor

from scorefield.core import gauge, grid, noise_schedule, predict
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Denoise, bind
from scorefield.core.level import Level
from scorefield.guide.cfg import Scale, at_levels, cfg, cfg_batched, within

AT = gauge.vp(-0.4)


class Counting:
    """A denoiser that mixes state, level and condition without symmetry, and counts its forwards."""

    def __init__(self) -> None:
        self.forwards = 0

    def __call__(self, x: Tensor, at: Level, cond: Cond) -> Tensor:
        self.forwards += 1
        assert cond.pooled is not None
        assert len(cond.pooled) == len(x)
        level = torch.as_tensor(at.alpha).reshape(-1, 1)
        return torch.sin(x * level + cond.pooled) + 0.3 * x.flip(1) * cond.pooled


POS, NEG = (Cond(pooled=torch.tensor(rows)) for rows in ([[1.0], [0.3]], [[-2.0], [0.1]]))
X = torch.tensor([[0.2, -1.0, 3.0], [1.0, 0.5, -0.7]])


def always(value: Tensor) -> Denoise:
    return lambda x, at: value


def refused(x: Tensor, at: Level) -> Tensor:
    raise AssertionError("this denoiser must not be asked")


def near(got: Tensor, want: Tensor, bound: float) -> None:
    assert got.shape == want.shape
    assert torch.isfinite(got).all()
    assert torch.isfinite(want).all()
    assert (got - want).abs().max() <= bound


@pytest.mark.parametrize("rescale", [0.0, 0.7])
@pytest.mark.parametrize("scale", [0.0, 0.4, 5.0, lambda at: 2.0 + float(at.sigma)])
@pytest.mark.parametrize("at", [AT, Level(0.0, 1.0)])
def test_one_forward_of_twice_the_batch_equals_two(at: Level, scale: Scale, rescale: float) -> None:
    net = Counting()
    one = cfg_batched(net, POS, NEG, scale, rescale)(X, at)
    assert net.forwards == 1
    near(one, cfg(bind(net, POS), bind(net, NEG), scale, rescale)(X, at), 1e-6)


def test_one_forward_takes_a_level_a_sample_too() -> None:
    net, at = Counting(), Level(torch.tensor([0.1, 0.9]), torch.tensor([0.9, 0.1]))
    near(cfg_batched(net, POS, NEG, 3.0)(X, at), cfg(bind(net, POS), bind(net, NEG), 3.0)(X, at), 1e-6)


def test_scale_1_is_the_conditional_denoiser_bit_for_bit_and_asks_it_alone() -> None:
    net = Counting()
    plain = bind(net, POS)(X, AT)
    assert torch.equal(cfg(bind(net, POS), refused, 1.0, rescale=0.5)(X, AT), plain)
    assert torch.equal(cfg(bind(net, POS), refused, lambda at: 1.0)(X, AT), plain)
    assert torch.equal(cfg_batched(net, POS, NEG, 1.0)(X, AT), plain)


def test_scale_0_is_the_unconditional_denoiser() -> None:
    net = Counting()
    near(cfg(bind(net, POS), bind(net, NEG), 0.0)(X, AT), bind(net, NEG)(X, AT), 0)


def test_a_negative_prompt_and_a_weaker_model_are_just_another_neg() -> None:
    net, weaker = Counting(), lambda x, at: 0.5 * x
    good = bind(net, POS)
    near(cfg(good, bind(net, NEG), 3.0)(X, AT), 3 * good(X, AT) - 2 * bind(net, NEG)(X, AT), 1e-5)
    near(cfg(good, weaker, 2.0)(X, AT), 2 * good(X, AT) - 0.5 * X, 1e-6)


def test_the_scale_may_depend_on_the_level() -> None:
    pos, neg = always(torch.ones(1, 2)), always(torch.zeros(1, 2))
    guided = cfg(pos, neg, lambda at: 4.0 if at.lam > 0 else 2.0)
    near(guided(X[:1, :2], gauge.vp(1.0)), torch.full((1, 2), 4.0), 0)
    near(guided(X[:1, :2], gauge.vp(-1.0)), torch.full((1, 2), 2.0), 0)


def test_rescale_is_the_hand_computation_of_lin_et_al_a_sample_at_a_time() -> None:
    pos = torch.tensor([[0.0, 2.0], [1.0, -1.0]])  # deviations 1 and 1 around 1 and 0
    neg = torch.tensor([[0.0, 0.0], [3.0, 1.0]])
    # Scale 3 gives [0, 6] of deviation 3, and [3 - 6, 1 - 6] = [-3, -5] of deviation 1.
    near(cfg(always(pos), always(neg), 3.0)(X[:, :2], AT), torch.tensor([[0.0, 6.0], [-3.0, -5.0]]), 1e-6)
    whole = cfg(always(pos), always(neg), 3.0, rescale=1.0)(X[:, :2], AT)
    near(whole, torch.tensor([[0.0, 2.0], [-3.0, -5.0]]), 1e-6)
    most = cfg(always(pos), always(neg), 3.0, rescale=0.75)(X[:, :2], AT)
    near(most, torch.tensor([[0.0, 0.75 * 2 + 0.25 * 6], [-3.0, -5.0]]), 1e-6)


def test_rescale_may_be_taken_on_the_networks_own_prediction() -> None:
    net = Counting()
    pos, neg = bind(net, POS), bind(net, NEG)
    got = cfg(pos, neg, 4.0, rescale=0.7, output=predict.v)(X, AT)

    def v(x0: Tensor) -> Tensor:
        eps = (X - AT.alpha * x0) / AT.sigma
        return AT.alpha * eps - AT.sigma * x0

    guided = v(neg(X, AT)) + 4 * (v(pos(X, AT)) - v(neg(X, AT)))
    pulled = guided * v(pos(X, AT)).std(1, keepdim=True) / guided.std(1, keepdim=True)
    want = AT.alpha * X - AT.sigma * (0.7 * pulled + 0.3 * guided)
    near(got, want, 1e-5)
    assert (got - cfg(pos, neg, 4.0, rescale=0.7)(X, AT)).abs().max() > 0.01


def test_rescale_of_a_flat_prediction_is_finite() -> None:
    flat = always(torch.ones(2, 3))
    near(cfg(flat, always(torch.zeros(2, 3)), 2.0, rescale=0.7)(X, AT), torch.full((2, 3), 2.0), 0)


@pytest.mark.parametrize("rescale", [-0.1, 1.1, math.nan])
def test_a_rescale_outside_0_to_1_is_refused(rescale: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        cfg(refused, refused, 2.0, rescale)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        cfg_batched(Counting(), POS, NEG, 2.0, rescale)


def test_an_interval_in_lam_guides_inside_and_asks_the_plain_one_outside() -> None:
    inside, outside = always(torch.ones(2, 3)), always(torch.zeros(2, 3))
    guided = within(inside, outside, -1.0, 1.0)
    seen = [guided(X, gauge.vp(lam)).mean().item() for lam in (-math.inf, -1.5, -0.9, 0.0, 0.9, 1.5)]
    assert seen == [0, 0, 1, 1, 1, 0]
    assert within(inside, refused, -math.inf, math.inf)(X, Level(0.0, 1.0)).mean() == 1
    with pytest.raises(ValueError, match="lo <= hi"):
        within(inside, outside, 1.0, -1.0)


def test_every_third_level_is_guided_without_counting_steps() -> None:
    visited = grid.levels(gauge.rf, grid.trailing(noise_schedule.flow())(8))
    guided = at_levels(always(torch.ones(2, 3)), always(torch.zeros(2, 3)), visited[::3])
    for _ in range(2):  # a second run of the same guide sees the same levels guided
        assert [guided(X, at).mean().item() for at in visited[:-1]] == [1, 0, 0, 1, 0, 0, 1, 0]
    assert guided(X, Level(torch.tensor(0.2).item(), 0.8)).mean() == 0
