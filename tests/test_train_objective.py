"""The objective against the table's identities; the densities of levels; the contrastive loss."""

import math

import pytest
import torch
from torch import Tensor, nn

from scorefield.core import clock, gauge, predict
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Preconditioned
from scorefield.core.level import noisy, per_sample
from scorefield.train import objective as room


class Given(nn.Module):
    """A network that answers with a fixed tensor, and notes what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.answer = answer

    def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        assert x.shape == self.answer.shape
        assert time.shape == label.shape == x.shape[:1]
        return self.scale * self.answer


B = 5
COND = Cond(label=torch.arange(B))


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(B, 2, 3, 3), torch.randn(B, 2, 3, 3), torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.5])


@pytest.mark.parametrize("name", ["eps", "v", "flow", "x0", "edm"])
def test_the_target_is_what_the_papers_train_on(name: str) -> None:
    x0, eps, lam = drawn()
    ways = {"eps": gauge.vp, "v": gauge.vp, "flow": gauge.rf, "x0": gauge.vp, "edm": gauge.ve}
    at = ways[name](lam)
    a, s = per_sample(at.alpha, x0), per_sample(at.sigma, x0)
    sd = 0.5
    root = (s**2 + sd**2) ** 0.5
    target = {
        "eps": eps, "v": a * eps - s * x0, "flow": eps - x0, "x0": x0,
        "edm": (x0 - sd**2 / root**2 * (x0 + s * eps)) * root / (s * sd),
    }[name]  # fmt: skip
    prediction = predict.edm(sd) if name == "edm" else getattr(predict, name)
    answer = torch.randn_like(x0)
    denoiser = Preconditioned(Given(answer), prediction, clock.flow)
    got = room.objective(denoiser, x0, COND, at, eps)
    assert got.shape == (B,)
    assert got.isfinite().all()
    torch.testing.assert_close(got, (answer - target).square().mean((1, 2, 3)), rtol=1e-4, atol=1e-5)


def test_a_network_that_is_right_has_no_loss_and_its_denoiser_gives_x0_back() -> None:
    x0, eps, lam = drawn()
    at = gauge.rf(lam)
    denoiser = Preconditioned(Given(eps - x0), predict.flow, clock.flow)
    assert room.objective(denoiser, x0, COND, at, eps).max() < 1e-10
    torch.testing.assert_close(denoiser(noisy(x0, eps, at), at, COND), x0, rtol=0, atol=1e-5)


def test_the_objective_has_a_gradient() -> None:
    x0, eps, lam = drawn()
    net = Given(torch.ones_like(x0))
    room.objective(Preconditioned(net, predict.flow, clock.flow), x0, COND, gauge.rf(lam), eps).mean().backward()
    assert net.scale.grad is not None
    wanted = 2 * (1 - (eps - x0)).mean()  # of the mean of (scale - target)^2 at scale 1
    torch.testing.assert_close(net.scale.grad, wanted, rtol=1e-4, atol=1e-6)


def test_stratified_draws_fall_one_in_each_interval() -> None:
    generator = torch.Generator().manual_seed(1)
    u = room.stratified(64, generator)
    assert sorted((u * 64).floor().long().tolist()) == list(range(64))
    assert (u.diff() < 0).any()
    assert not torch.equal(u, room.stratified(64, generator))


def test_the_flow_time_is_logit_normal() -> None:
    at = room.levels(gauge.rf, room.logit_normal(0.4, 0.8), 20_000, torch.Generator().manual_seed(0))
    assert at.sigma.dtype == torch.float32
    logit = torch.logit(at.sigma.double())
    assert logit.isfinite().all()
    assert (logit.mean().item(), logit.std().item()) == pytest.approx((0.4, 0.8), abs=2e-3)


def test_the_flow_time_is_uniform() -> None:
    at = room.levels(gauge.rf, room.uniform, 10_000, torch.Generator().manual_seed(0))
    even = (torch.arange(10_000) + 0.5) / 10_000
    assert (at.sigma.sort().values - even).abs().max() < 1e-4
    torch.testing.assert_close(at.alpha + at.sigma, torch.ones(10_000))


def test_lam_is_uniform_between_its_bounds() -> None:
    at = room.levels(gauge.vp, room.uniform_lam(-4, 6), 1000, torch.Generator().manual_seed(0))
    even = -4 + 10 * (torch.arange(1000) + 0.5) / 1000
    assert (at.lam.sort().values - even).abs().max() < 0.011


def test_conditions_are_dropped_at_their_share_whole_rows_at_a_time() -> None:
    cond = Cond(tokens=torch.ones(20_000, 2, 3), mask=torch.ones(20_000, 2, dtype=torch.bool))
    empty = Cond(tokens=torch.zeros(1, 2, 3), mask=torch.zeros(1, 2, dtype=torch.bool))
    got = room.drop_some(cond, empty, 0.1, torch.Generator().manual_seed(0))
    assert got.tokens is not None
    assert got.mask is not None
    kept = got.mask[:, 0]
    assert 1 - kept.float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(got.tokens, kept.float()[:, None, None].expand(-1, 2, 3))


def test_the_contrastive_loss_is_its_formula() -> None:
    image, text, log_scale = torch.randn(6, 4), torch.randn(6, 4), torch.tensor(1.3)
    got = room.contrastive(image, text, log_scale)
    cosines = torch.stack([torch.stack([torch.cosine_similarity(i, t, dim=0) for t in text]) for i in image])
    logits = math.exp(1.3) * cosines
    rows = logits.log_softmax(1).diagonal().mean()
    columns = logits.log_softmax(0).diagonal().mean()
    torch.testing.assert_close(got, -(rows + columns) / 2)
    torch.testing.assert_close(got, room.contrastive(text, 5 * image, log_scale))


def test_the_contrastive_factor_is_held_to_a_hundred() -> None:
    vectors = torch.randn(4, 3)
    other = torch.randn(4, 3)
    held = room.contrastive(vectors, other, torch.tensor(50.0))
    torch.testing.assert_close(held, room.contrastive(vectors, other, torch.tensor(math.log(100))))
