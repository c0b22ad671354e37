"""Results of the original programs, with the dummy network x t / (t + 1) that their schedulers' tests use.

Sums of absolute values over a ramp of 768 numbers, as computed by guided-diffusion, ermongroup's DDIM, CompVis' latent
diffusion, Stable Diffusion 2 and Wan 2.1; noise is torch's own after manual_seed(0).
"""

import functools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from scorefield.core.denoiser import Denoise, VarianceDenoise
from scorefield.core.level import Level
from scorefield.sample.ancestral import ddim, ddpm
from scorefield.sample.dpmpp import dpmpp_2m
from scorefield.sample.unipc import unipc
from scorefield.sample.walk import Sampler

RAMP = (torch.arange(768) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)
LINEAR = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
SCALED = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
EVEN = range(900, -1, -100)
QUAD = [int(t) for t in torch.linspace(0, 800**0.5, 10, dtype=torch.float64) ** 2][::-1]

Meaning = Callable[[Tensor, Tensor, Level], Tensor]  # state, the network's answer, level -> x0


def from_eps(x: Tensor, answer: Tensor, at: Level) -> Tensor:
    return (x - at.sigma * answer) / at.alpha


def from_v(x: Tensor, answer: Tensor, at: Level) -> Tensor:
    return at.alpha * x - at.sigma * answer


def from_flow(x: Tensor, answer: Tensor, at: Level) -> Tensor:
    return x - at.sigma * answer


def clipped(x: Tensor, answer: Tensor, at: Level) -> Tensor:
    return from_eps(x, answer, at).clamp(-1, 1)


def vp(betas: Tensor, times: Sequence[int], last: float | None = None) -> list[Level]:
    """The levels of integer `times`, then the one of abar = `last`, by default that of index 0."""
    bars = (1 - betas).cumprod(0)
    ends = [*bars[list(times)].tolist(), float(bars[0]) if last is None else last]
    return [Level(bar**0.5, (1 - bar) ** 0.5) for bar in ends]


def total(sampler: Sampler, levels: list[Level], times: Sequence[int], meaning: Meaning) -> float:
    time_at = dict(zip(levels, times, strict=False))

    def denoise(x: Tensor, at: Level) -> Tensor:
        return meaning(x, x * (time_at[at] / (time_at[at] + 1)), at)

    source = torch.Generator().manual_seed(0)
    *_, last = sampler(checked(denoise), RAMP, levels, lambda at, to: torch.randn(RAMP.shape, generator=source))
    return float(last.x.double().abs().sum())


def checked(denoise: Denoise) -> Denoise:
    def finite(x: Tensor, at: Level) -> Tensor:
        assert torch.isfinite(x).all()
        return denoise(x, at)

    return finite


@pytest.mark.parametrize(
    ("times", "eta", "wanted"),
    [(EVEN, 0.0, 172.0067), (EVEN, 1.0, 236.8910), (QUAD, 0.0, 178.6596)],
    ids=["uniform", "uniform, eta 1", "quadratic"],
)
def test_the_original_ddim(times: Sequence[int], eta: float, wanted: float) -> None:
    found = total(functools.partial(ddim, eta=eta), vp(LINEAR, times, 1.0), times, from_eps)
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("steps", "eta", "wanted"), [(10, 0.0, 183.2583), (20, 0.0, 192.0830), (10, 1.0, 250.5276), (50, 1.0, 271.3705)]
)
def test_latent_diffusions_ddim_which_ends_at_index_0(steps: int, eta: float, wanted: float) -> None:
    times = [t + 1 for t in range(0, 1000, 1000 // steps)][::-1]
    found = total(functools.partial(ddim, eta=eta), vp(SCALED, times), times, from_eps)
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("steps", "wanted"), [(10, 69.5965), (20, 79.2295)])
def test_stable_diffusion_2s_ddim_with_v(steps: int, wanted: float) -> None:
    times = [t + 1 for t in range(0, 1000, 1000 // steps)][::-1]
    assert total(ddim, vp(SCALED, times), times, from_v) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("sampler", "wanted"),
    [(ddim, 187.3237), (ddpm, 253.9084), (functools.partial(ddpm, large=True), 316.511)],
    ids=["ddim", "fixed small", "fixed large"],
)
def test_guided_diffusion_with_clipped_x0(sampler: Sampler, wanted: float) -> None:
    times = range(960, -1, -40)
    assert total(sampler, vp(LINEAR, times, 1.0), times, clipped) == pytest.approx(wanted, rel=1e-5)


def rf(sigmas: Sequence[float]) -> list[Level]:
    return [Level(1 - sigma, sigma) for sigma in sigmas]


def test_wans_dpmpp_2m_from_pure_noise() -> None:
    shifted = [3 * s / (1 + 2 * s) for s in torch.linspace(1, 0, 11, dtype=torch.float64).tolist()]
    times = [1000, 964, 923, 874, 818, 750, 666, 562, 428, 249]
    assert total(dpmpp_2m, rf(shifted), times, from_flow) == pytest.approx(137.2067, rel=1e-5)


def test_wans_unipc() -> None:
    sigmas = [0.9997998476028442, 0.9780480265617371, 0.9521540403366089, 0.9208101034164429, 0.8820932507514954]
    sigmas += [0.8330553770065308, 0.7689347267150879, 0.6815081238746643, 0.5552467703819275, 0.35688769817352295, 0.0]
    times = [999, 978, 952, 920, 882, 833, 768, 681, 555, 356]
    assert total(unipc, rf(sigmas), times, from_flow) == pytest.approx(130.6098, rel=1e-5)


SPACED_25 = [round(k * 999 / 24) for k in reversed(range(25))]
SPACED_250 = [round(k * 999 / 249) for k in reversed(range(250))]


@pytest.mark.parametrize(
    ("times", "first", "wanted"),
    [
        (SPACED_25, -0.7672578692436218, 319.91021728515625),
        (SPACED_250, -0.000995709910057485, 267.07391357421875),
        (range(960, -1, -40), -0.7689703106880188, 318.0445861816406),
    ],
)
def test_the_learned_variance_of_guided_diffusion(times: Sequence[int], first: float, wanted: float) -> None:
    """Its p_sample_loop with LEARNED_RANGE and clipped x0; the network says cos(x) of the variance."""
    levels = vp(LINEAR, times, last=1.0)
    time_at = dict(zip(levels, times, strict=False))

    def both(x: Tensor, at: Level) -> tuple[Tensor, Tensor]:
        return clipped(x, x * (time_at[at] / (time_at[at] + 1)), at), (x.cos() + 1) / 2

    source = torch.Generator().manual_seed(0)
    *_, last = ddpm(VarianceDenoise(both), RAMP, levels, lambda at, to: torch.randn(RAMP.shape, generator=source))
    assert last.x.isfinite().all()
    assert float(last.x.abs().sum()) == pytest.approx(wanted, rel=1e-5)
    assert float(last.x[0, 0, 0, 0]) == pytest.approx(first, abs=1e-4)
