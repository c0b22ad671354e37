"""A variance that the network learned: guides hand on the conditional's, DDPM reads it, nothing else does."""

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from scorefield.core import clock, gauge, predict
from scorefield.core.cond import Cond
from scorefield.core.denoiser import (
    Denoise,
    Preconditioned,
    PreconditionedVariance,
    VarianceDenoise,
    VarianceDenoiser,
    bind,
    steady,
)
from scorefield.core.level import Level
from scorefield.guide.cfg import at_levels, cfg, cfg_batched, within
from scorefield.guide.gradient import classifier_guided, loss_guided
from scorefield.guide.inpaint import known
from scorefield.notes import HalfPrecisionWarning
from scorefield.sample.ancestral import ddpm
from scorefield.sample.samplers import SAMPLERS, SamplerRecord

LEVELS = [*(gauge.vp(lam) for lam in (-2.0, -0.5, 0.8, 2.0)), Level(1.0, 0.0)]
SHAPE = (2, 3, 4, 4)
POS, NEG = Cond(pooled=torch.tensor([[1.0], [1.5]])), Cond(pooled=torch.tensor([[-1.0], [-0.5]]))


class Net(nn.Module):
    """A network of three channels that says six."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([factor]), requires_grad=False)

    def forward(self, x: Tensor, time: Tensor, pooled: Tensor) -> Tensor:
        x = x * self.factor / self.factor
        word = pooled[..., None, None] * (1 + time[:, None, None, None] / 1000)
        return torch.cat([torch.tanh(x + word), torch.cos(3 * x + word)], 1)


class Half(nn.Module):
    """The same network's prediction alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor, time: Tensor, pooled: Tensor) -> Tensor:
        out: Tensor = self.net(x, time, pooled).chunk(2, 1)[0]
        return out


LEARNED, PLAIN = PreconditionedVariance(Net(), predict.eps, clock.flow), Preconditioned(Half(), predict.eps, clock.flow)
POSITIVE, NEGATIVE = bind(LEARNED, POS), bind(LEARNED, NEG)


def state() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def noise(at: Level, to: Level) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(int(1000 * at.alpha)))


def squared(x: Tensor, *_: Level) -> Tensor:
    return -x.square().flatten(1).sum(1)


GUIDES: dict[str, Callable[[Denoise, Denoise], Denoise]] = {
    "cfg": lambda pos, neg: cfg(pos, neg, 3.0, 0.5),
    "cfg of scale 1": lambda pos, neg: cfg(pos, neg, 1.0),
    "known": lambda pos, neg: known(pos, torch.zeros(1), torch.tensor(0.3)),
    "classifier": lambda pos, neg: classifier_guided(pos, squared),
    "loss": lambda pos, neg: loss_guided(pos, squared, 0.1),
    "exact loss": lambda pos, neg: loss_guided(pos, squared, 0.1, exact=True),
    "within": lambda pos, neg: within(cfg(pos, neg, 3.0), pos, -1.0, 1.0),
    "at levels": lambda pos, neg: at_levels(cfg(pos, neg, 3.0), pos, LEVELS[:1]),
}


def parts(denoise: Denoise, x: Tensor, at: Level) -> tuple[Tensor, Tensor]:
    assert isinstance(denoise, VarianceDenoise)
    return denoise.both(x, at)


def test_the_share_is_the_second_half_of_the_output_between_0_and_1() -> None:
    x, at = state(), LEVELS[1]
    x0, share = LEARNED.both(x, at, POS)
    assert torch.equal(x0, PLAIN(x, at, POS))
    assert torch.equal(LEARNED(x, at, POS), x0)
    assert torch.equal(share, (LEARNED.raw(x, at, POS)[:, 3:] + 1) / 2)
    assert 0 <= share.min() < 0.2 < 0.8 < share.max() <= 1


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_changes_x0_as_without_and_hands_on_the_conditionals_variance(guide: str) -> None:
    guided, without = GUIDES[guide](POSITIVE, NEGATIVE), GUIDES[guide](bind(PLAIN, POS), bind(PLAIN, NEG))
    assert not isinstance(without, VarianceDenoise)
    for at in LEVELS[:-1]:
        x0, share = parts(guided, state(), at)
        assert torch.equal(x0, without(state(), at))
        assert torch.equal(guided(state(), at), x0)
        assert torch.equal(share, parts(POSITIVE, state(), at)[1])


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_batched_guidance_does_too(scale: float) -> None:
    batched = cfg_batched(LEARNED, POS, NEG, scale)
    for found, wanted in zip(
        parts(batched, state(), LEVELS[1]), parts(cfg(POSITIVE, NEGATIVE, scale), state(), LEVELS[1]), strict=True
    ):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("record", SAMPLERS, ids=[record.name for record in SAMPLERS])
def test_only_ddpm_reads_it(record: SamplerRecord) -> None:
    *_, ours = record.sampler(POSITIVE, state(), LEVELS, noise)
    *_, plain = record.sampler(bind(PLAIN, POS), state(), LEVELS, noise)
    assert torch.equal(ours.x, plain.x) == (record.name != "ddpm")


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_ddpm_draws_with_the_variance_between_the_posteriors_and_beta(share: float) -> None:
    """Nichol & Dhariwal 2021, eq. 15, from abar: exp(v log beta + (1 - v) log of the posterior's)."""
    at, to = LEVELS[1:3]
    denoise = VarianceDenoise(lambda x, at: (0.5 * x, torch.full_like(x, share)))
    _, step, _ = ddpm(denoise, state(), [at, to, LEVELS[-1]], noise)
    beta = 1 - at.alpha**2 / to.alpha**2
    posterior = (1 - to.alpha**2) / (1 - at.alpha**2) * beta
    mean = to.alpha * beta / (1 - at.alpha**2) * 0.5 * state()
    mean = mean + (1 - beta) ** 0.5 * (1 - to.alpha**2) / (1 - at.alpha**2) * state()
    deviation = beta ** (share / 2) * posterior ** ((1 - share) / 2)
    torch.testing.assert_close(step.x, mean + deviation * noise(at, to))
    if share in (0.0, 1.0):
        fixed = functools.partial(ddpm, large=share == 1.0)
        _, step_fixed, _ = fixed(lambda x, at: 0.5 * x, state(), [at, to, LEVELS[-1]], noise)
        torch.testing.assert_close(step.x, step_fixed.x)


def test_half_precision_is_repaired_with_the_variance() -> None:
    half = PreconditionedVariance(Net(3e4).half(), predict.eps, clock.flow)
    full = PreconditionedVariance(Net(3e4), predict.eps, clock.flow)
    x = state().clamp(-1, 1)
    x[1] += 5
    walked = steady(half, LEVELS)
    assert isinstance(walked, VarianceDenoiser)
    with pytest.warns(HalfPrecisionWarning, match="step 1 of 4.*sample 1 of"):
        found = walked.both(x, LEVELS[1], POS)
    for ours, wanted in zip(found, full.both(x, LEVELS[1], POS), strict=True):
        torch.testing.assert_close(ours[1], wanted[1], rtol=1e-3, atol=1e-3)
