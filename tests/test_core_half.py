"""Half precision: what overflows in it is computed in float32, and the network stays as it is."""

import copy
import gc
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from tests import toy
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scorefield.api import Pipeline
from scorefield.core import clock, gauge, predict
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Preconditioned, steady
from scorefield.core.half_precision import in_float32, repaired
from scorefield.core.level import Level
from scorefield.nets.packed import Linear, pack
from scorefield.notes import HalfPrecisionWarning
from scorefield.sample.walk import NonFiniteError

LEVELS = [gauge.rf(lam) for lam in (-2.0, 0.0, 2.0)]


class Loud(nn.Module):
    """Returns x by way of x * factor, which float16 cannot hold where |x| is above 65504 / factor."""

    def __init__(self, factor: float = 3e4) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([factor]), requires_grad=False)
        self.register_buffer("one", torch.ones(1))

    def forward(self, x: Tensor, time: Tensor, **_: Tensor) -> Tensor:
        return x * self.factor / self.factor * self.one  # type: ignore[operator]


def denoiser(dtype: torch.dtype, factor: float = 3e4) -> Preconditioned:
    return Preconditioned(Loud(factor).to(dtype), predict.x0, clock.flow)


def states() -> Tensor:
    """Three samples; the second is too loud."""
    x = torch.linspace(-1, 1, 3 * 8).reshape(3, 2, 2, 2)
    x[1] += 5
    return x


def test_samples_that_overflow_are_asked_again_in_float32_and_the_others_are_not() -> None:
    x, at = states(), Level(1.0, 0.0)
    half, full = denoiser(torch.float16), denoiser(torch.float32)
    plain = half(x, at, Cond())
    assert not plain[1].isfinite().all()
    with pytest.warns(HalfPrecisionWarning):
        x0 = steady(half, LEVELS)(x, at, Cond())
    assert x0.isfinite().all()
    assert torch.equal(x0[1], full(x, at, Cond())[1])
    assert torch.equal(x0[[0, 2]], plain[[0, 2]])
    assert x0.dtype == torch.float32


def test_bfloat16_overflows_later_and_is_asked_again_too() -> None:
    """The state is rounded up there, and the product with it beyond both formats' largest number."""
    x, factor = torch.full((1, 1), 2.00783), torch.finfo(torch.bfloat16).max / 2
    with pytest.warns(HalfPrecisionWarning, match="bfloat16"):
        x0 = steady(denoiser(torch.bfloat16, factor), LEVELS)(x, Level(1.0, 0.0), Cond())
    assert x0.isfinite().all()


def test_one_warning_a_walk_names_step_level_and_dtype() -> None:
    ask = steady(denoiser(torch.float16), LEVELS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for at in LEVELS[1:]:
            ask(40 * states(), at, Cond())
    assert [str(one.message) for one in caught] == [
        "step 1 of 2, lam = 0: the network's answer (torch.float16) is not finite in sample 0, 1, 2 of the batch; "
        "computed again in float32"
    ]


def test_a_batch_with_a_level_and_a_cond_a_sample_is_asked_sample_by_sample() -> None:
    class Told(Loud):
        def forward(self, x: Tensor, time: Tensor, tokens: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x, time) + tokens[:, None, None, None] + time[:, None, None, None] / 1000

    def model(dtype: torch.dtype) -> Preconditioned:
        return Preconditioned(Told().to(dtype), predict.x0, clock.flow)

    at = Level(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0.1, 0.2, 0.3]))
    cond = Cond(tokens=torch.tensor([1.0, 2.0, 3.0]))
    with pytest.warns(HalfPrecisionWarning):
        x0 = steady(model(torch.float16), LEVELS)(states(), at, cond)
    assert torch.equal(x0[1], model(torch.float32)(states(), at, cond)[1])
    assert (x0 - model(torch.float32)(states(), at, cond)).abs().max() < 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_what_is_finite_passes_untouched_and_in_silence(dtype: torch.dtype) -> None:
    x, plain = 0.1 * states(), denoiser(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(steady(plain, LEVELS)(x, LEVELS[0], Cond()), plain(x, LEVELS[0], Cond()))


def test_what_is_not_finite_in_float32_either_stays_so() -> None:
    x = states()
    x[0] = torch.nan
    with pytest.warns(HalfPrecisionWarning):
        assert not steady(denoiser(torch.float16), LEVELS)(x, LEVELS[0], Cond())[0].isfinite().any()


class Several(nn.Module):
    """Layers, a weight and a buffer of its own, a layer called with a keyword, and one used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.line = nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Linear(4, 4)
        self.table = nn.Parameter(torch.randn(4))
        self.register_buffer("one", torch.full((1,), 1.1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(input=self.conv(x))
        return self.line(self.line(x.movedim(1, -1)) + self.table.to(x.dtype)) * self.one


def test_the_network_in_float32_gives_what_a_copy_in_float32_gives_and_shares_its_weights() -> None:
    net = Several().half().eval().requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    made, x = in_float32(net), torch.randn(3, 2, 5, 5)
    assert torch.equal(made(x), copy.deepcopy(net).float()(x))
    assert torch.equal(made(x), made(x))
    for name in ("conv", "norm", "line"):
        assert getattr(made, name).weight is getattr(net, name).weight
    assert not any(parameter.requires_grad for parameter in made.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype


def test_a_layer_that_fails_has_its_own_weights_again() -> None:
    net = nn.Sequential(nn.Linear(3, 3)).half().requires_grad_(False)
    made = in_float32(net)
    with pytest.raises(RuntimeError):
        made(torch.zeros(1, 4))
    assert made[0].weight is net[0].weight


class Live(TorchDispatchMode):
    """The most bytes that tensors made within it take at once, beyond what went in."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and not any(out is one for one in args):
            size = out.numel() * out.element_size()
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(out, self._gone, size)
        return out

    def _gone(self, size: int) -> None:
        self.now -= size


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_repair_takes_the_memory_of_one_layer(dtype: torch.dtype) -> None:
    """In bfloat16 the weights are packed, where the processor has kernels for it."""
    layers, width = 24, 256
    net = nn.Sequential(*(Linear(width, width) for _ in range(layers))).to(dtype).eval().requires_grad_(False)
    pack(net)
    layer, broken = 4 * width * width, torch.full((2, width), torch.nan)
    live = Live()
    with live:
        repaired(lambda one, rows, given: one(broken[rows].to(given)), net, lambda _: None)
    assert layer <= live.most <= 2.5 * layer  # a packed weight is unpacked before it is float32


def test_what_the_repair_needed_is_not_kept() -> None:
    net = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), Loud()).half().eval().requires_grad_(False)
    kept: list[weakref.ref[nn.Module]] = []

    def run(one: nn.Module, rows: object, dtype: torch.dtype) -> Tensor:
        kept.append(weakref.ref(one))
        return torch.full((1, 1), torch.nan)

    repaired(run, net, lambda _: None)
    gc.collect()
    assert [one() for one in kept] == [net, None]


class Overflowing(toy.Net):
    """The toy's network, which float16 cannot follow at the noisier half of the walk."""

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        loud = 1e5 * (time > 500).to(x.dtype)[:, None, None, None]
        return super().forward(x, time.to(x.dtype), tokens, mask) + loud - loud


def test_a_picture_survives_where_half_precision_does_not() -> None:
    full = Pipeline(toy.model(Overflowing()))("a tree", seed=1).image
    net = Overflowing().half()
    with pytest.warns(HalfPrecisionWarning, match=r"step 0 of 4.*float16") as caught:
        half = Pipeline(toy.model(net))("a tree", seed=1).image
    assert len(caught) == 1
    assert abs(np.asarray(half).astype(int) - np.asarray(full)).max() <= 4


def test_a_network_that_is_broken_in_float32_too_is_still_an_error() -> None:
    net = Overflowing().half().requires_grad_(False)
    net.colour[0, 0] = torch.nan
    with pytest.warns(HalfPrecisionWarning), pytest.raises(NonFiniteError, match="step 0 of 4"):
        Pipeline(toy.model(net))("a tree", seed=1)
