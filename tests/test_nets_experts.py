"""Two networks that divide the times of a walk: which one runs, in batches, guided, in half precision, compiled."""

import pytest
import torch
from tests import networks
from torch import Tensor, nn

from scorefield.core import clock, gauge, grid, noise_schedule, predict
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Preconditioned, bind, steady
from scorefield.core.level import Level
from scorefield.guide.cfg import cfg, cfg_batched
from scorefield.nets import shared_copy
from scorefield.nets.experts import Experts
from scorefield.nets.video_dit import VideoDit, VideoDitConfig
from scorefield.notes import HalfPrecisionWarning

TINY = VideoDitConfig(in_channels=4, out_channels=4, width=24, mlp_width=32, depth=1, heads=2, text_width=8)
LEVELS = grid.levels(gauge.rf, grid.flow_unipc(noise_schedule.shifted(noise_schedule.flow(), 5))(8))


def experts() -> Experts:
    torch.manual_seed(0)
    nets = [VideoDit(TINY), VideoDit(TINY)]
    for net in nets:
        for weight in net.parameters():
            nn.init.normal_(weight, std=0.3)
    return Experts(nets[0], nets[1], 875.0).eval().requires_grad_(False)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return networks.relative_error(ours, theirs, least=0.01)


def denoiser(net: nn.Module) -> Preconditioned:
    return Preconditioned(net, predict.flow, clock.flow_whole)


def state(batch: int = 2) -> tuple[Tensor, Cond]:
    source = torch.Generator().manual_seed(1)
    return torch.randn(batch, 4, 2, 4, 4, generator=source), Cond(tokens=torch.randn(batch, 3, 8, generator=source))


def test_the_boundary_itself_belongs_to_the_expert_of_noise() -> None:
    net, (x, cond) = experts(), state()
    for time, expected in ((875.0, net.high), (874.0, net.low)):
        times = torch.full((2,), time)
        assert torch.equal(net(x, times, tokens=cond.tokens), expected(x, times, cond.tokens))


def test_only_the_expert_of_the_level_runs() -> None:
    net, (x, cond) = experts(), state()
    ran: list[str] = []
    for name, one in net.named_children():
        one.register_forward_hook(lambda *_, name=name: ran.append(name))  # type: ignore[misc]
    for level in LEVELS[:-1]:
        denoiser(net)(x, level, cond)
    assert ran == ["high"] * 4 + ["low"] * 4


def test_samples_on_both_sides_of_the_boundary_have_the_answers_of_their_own() -> None:
    net, (x, cond) = denoiser(experts()), state(4)
    sigma = torch.tensor([0.1005, 0.9005, 0.9505, 0.3005])  # between whole times, to round alike
    answer = net(x, Level(1 - sigma, sigma), cond)
    for k in range(4):
        alone = net(x[k : k + 1], Level(float(1 - sigma[k]), float(sigma[k])), cond[k : k + 1])
        assert relative_error(answer[k : k + 1], alone) <= 1e-5


@pytest.mark.parametrize("i", [0, 6])
def test_guidance_in_one_run_is_that_in_two(i: int) -> None:
    made, (x, cond) = denoiser(experts()), state()
    neg = cond.map(lambda value: -value)
    whole = cfg_batched(steady(made, LEVELS), cond, neg, 3.0)(x, LEVELS[i])
    apart = cfg(bind(made, cond), bind(made, neg), 3.0)(x, LEVELS[i])
    assert relative_error(whole, apart) <= 1e-5


@pytest.mark.parametrize("i", [0, 6])
def test_what_half_precision_breaks_in_an_expert_runs_again_in_float32(i: int) -> None:
    """A weight of the expert of this level overflows what follows it; the other expert has none such."""
    net, (x, cond) = experts(), state()
    broken = net.high if i == 0 else net.low
    broken.patch.weight.mul_(3e4)
    full = denoiser(net)(x, LEVELS[i], cond)
    halved = denoiser(shared_copy.twin(net).half())
    with pytest.warns(HalfPrecisionWarning, match=f"step {i} of 8.* is not finite in sample 0, 1 of the batch"):
        repaired = steady(halved, LEVELS)(x, LEVELS[i], cond)
    assert relative_error(repaired, full) < 0.01
    assert steady(halved, LEVELS)(x, LEVELS[6 - i], cond).isfinite().all()


def test_each_expert_is_compiled_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(VideoDit, "compile", lambda net, **_: compiled.append(net))
    net = experts()
    made = shared_copy.compiled(net)
    assert compiled == [made.high, made.low]
    assert made.high.patch.weight is net.high.patch.weight
