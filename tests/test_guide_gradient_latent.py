"""Loss guidance of latent diffusion: through the decoder, through the U-Net, and with the memory of one block."""

import pytest
import torch
from tests.test_nets_unet import TINY, randomised
from torch import Tensor

from scorefield.core import clock, gauge, noise_schedule, predict
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Denoise, Preconditioned, bind
from scorefield.core.level import Level
from scorefield.guide.cfg import at_levels
from scorefield.guide.gradient import loss_guided
from scorefield.lab.pictures.memory import Peak
from scorefield.latent.kl_codec import KlCodec
from scorefield.nets.kl import Kl, KlConfig
from scorefield.nets.shared_copy import recomputing
from scorefield.nets.unet import Stage, Unet
from scorefield.nets.unet_blocks import ResBlock

LAMS = noise_schedule.lams(noise_schedule.cumulative(noise_schedule.scaled_linear()))
WORDS = Cond(tokens=torch.randn(2, 7, TINY.context_width, generator=torch.Generator().manual_seed(2)))
X = torch.randn(2, 4, 12, 16, generator=torch.Generator().manual_seed(3))
AT = gauge.ve(-0.4)
SCALE = 3000.0  # of a mean over the pixels


def built(unet: Unet, kl: Kl) -> tuple[Preconditioned, KlCodec]:
    """All weights drawn; the pixels stay within -1 and 1, where the decoder's clamp has a gradient."""
    randomised(unet), randomised(kl)
    kl.decoder.last[-1].weight.mul_(0.1)
    return Preconditioned(unet, predict.eps, clock.discrete(LAMS)), KlCodec(kl)


@pytest.fixture(scope="module")
def parts() -> tuple[Preconditioned, KlCodec]:
    return built(Unet(TINY), Kl(KlConfig(width=32, multipliers=(1, 1, 1), resblocks=1)))


def blue(pixels: Tensor) -> Tensor:
    """How far the blue of pixels (B, 3, H, W) is from 0.9, (B,)."""
    return ((pixels[:, 2] + 1) / 2 - 0.9).square().mean((1, 2))


def by_hand(parts: tuple[Preconditioned, KlCodec], exact: bool) -> tuple[Tensor, Tensor]:
    """The plain x0, and the gradient of the loss by autograd: with respect to the state, or to x0 alone."""
    denoiser, codec = parts
    x = X.clone().requires_grad_(exact)
    x0 = denoiser(x, AT, WORDS)
    leaf = x if exact else x0.detach().requires_grad_()
    blue(codec.decode(x0 if exact else leaf)).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert leaf.grad.abs().max() > 1e-5
    return x0.detach(), leaf.grad


def guided(denoiser: Preconditioned, codec: KlCodec, exact: bool) -> Denoise:
    return loss_guided(bind(denoiser, WORDS), lambda x0: blue(codec.decode(x0)), SCALE, exact)


def test_the_exact_path_is_autograd_through_decoder_and_u_net_times_sigma_squared(
    parts: tuple[Preconditioned, KlCodec],
) -> None:
    x0, gradient = by_hand(parts, exact=True)
    got = guided(*parts, exact=True)(X, AT)
    assert AT.alpha == 1
    torch.testing.assert_close(got, x0 - SCALE * AT.sigma**2 * gradient, rtol=0, atol=1e-5)
    assert (got - x0).abs().max() > 0.01


def test_the_cheap_path_stops_at_x0_and_has_the_variance_of_the_data_left_by_the_level(
    parts: tuple[Preconditioned, KlCodec],
) -> None:
    x0, gradient = by_hand(parts, exact=False)
    got = guided(*parts, exact=False)(X, AT)
    share = AT.sigma**2 / (1 + AT.sigma**2)
    torch.testing.assert_close(got, x0 - SCALE * share * gradient, rtol=0, atol=1e-5)
    assert (got - guided(*parts, exact=True)(X, AT)).abs().max() > 0.01


def test_a_loss_of_the_latents_needs_no_decoder(parts: tuple[Preconditioned, KlCodec]) -> None:
    def last_channel(x0: Tensor) -> Tensor:
        return x0[:, 3].square().mean((1, 2))

    x0 = parts[0](X, AT, WORDS)
    got = loss_guided(bind(parts[0], WORDS), last_channel, scale=1.0)(X, AT)
    assert torch.equal(got[:, :3], x0[:, :3])
    assert (last_channel(got) < last_channel(x0)).all()


def test_every_fifth_step_is_guided_and_the_others_are_plain(parts: tuple[Preconditioned, KlCodec]) -> None:
    plain, levels = bind(parts[0], WORDS), [gauge.ve(-2 + 0.3 * k) for k in range(11)]
    steered = at_levels(guided(*parts, exact=True), plain, levels[::5])
    moved = [k for k, at in enumerate(levels) if not torch.equal(steered(X, at), plain(X, at))]
    assert moved == [0, 5, 10]


def test_blocks_that_are_run_again_change_no_number(parts: tuple[Preconditioned, KlCodec]) -> None:
    lean = recomputing(parts[0], Stage), recomputing(parts[1], ResBlock)
    kept = guided(*parts, exact=True)(X, AT)
    assert torch.equal(guided(*lean, exact=True)(X, AT), kept)
    for thin, thick in zip(lean, parts, strict=True):
        assert all(a is b for a, b in zip(thin.parameters(), thick.parameters(), strict=True))


def test_blocks_that_are_run_again_run_twice_and_those_of_the_network_once(
    parts: tuple[Preconditioned, KlCodec],
) -> None:
    calls: list[str] = []
    codec = parts[1]
    block = next(module for module in codec.modules() if isinstance(module, ResBlock))
    hook = block.norm1.register_forward_hook(lambda *_: calls.append("run"))
    pixels = torch.randn(1, 3, 16, 16, requires_grad=True)
    for one, runs in ((codec, 1), (recomputing(codec, ResBlock), 2)):
        calls.clear()
        one.encode(pixels).sum().backward()
        assert len(calls) == runs
    hook.remove()


def peak(denoiser: Preconditioned, codec: KlCodec, x: Tensor, at: Level) -> int:
    """The bytes of all tensors that live at the worst moment of one exact step."""
    step = loss_guided(bind(denoiser, WORDS[:1]), lambda x0: blue(codec.decode(x0)), SCALE, exact=True)
    with Peak() as held:
        assert step(x, at).isfinite().all()
    return held.bytes


def test_the_exact_step_holds_less_than_half_when_blocks_are_run_again(parts: tuple[Preconditioned, KlCodec]) -> None:
    lean = recomputing(parts[0], Stage), recomputing(parts[1], ResBlock)
    x = torch.randn(1, 4, 16, 16)
    assert peak(*lean, x, AT) < 0.5 * peak(*parts, x, AT)
