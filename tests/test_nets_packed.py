import copy

import pytest
import torch
from torch import Tensor, nn

from scorefield.core.half_precision import in_float32
from scorefield.nets.packed import Conv2d, GeluLinear, Linear, layers, pack, packs, unpack
from scorefield.nets.shared_copy import recomputing, twin
from scorefield.nets.unet import Stage, Unet, UnetConfig

CPU, HALF = torch.device("cpu"), torch.bfloat16
pytestmark = pytest.mark.skipif(not packs(CPU, HALF), reason="this processor has no kernels for it")
CONFIG = UnetConfig(channels=32, multipliers=(1, 2, 2), depths=(1, 1, 0), heads=4, context_width=24)
ROUNDING = 4e-3  # 2^-8, at most, of a number that is rounded to bfloat16 once or twice


def drawn(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        scale = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.3
        weight.data = torch.randn(weight.shape, generator=generator).mul(scale).to(HALF)
    return net.eval().requires_grad_(False)


def packed(net: nn.Module) -> nn.Module:
    made = copy.deepcopy(net)
    pack(made)
    assert all(layer.weight.is_mkldnn for layer in layers(made).values())
    return made


def far(one: Tensor, other: Tensor) -> float:
    assert one.isfinite().all()
    assert one.shape == other.shape
    return float((one.float() - other.float()).norm() / other.float().norm())


def given(height: int = 16, width: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, CONFIG.in_channels, height, width, generator=generator)
    tokens = torch.randn(2, 77, CONFIG.context_width, generator=generator)
    return x.to(HALF), torch.tensor([500.0, 3.0]), tokens.to(HALF)


CASES = [
    (Linear(64, 96), (2, 10, 64)),
    (Linear(64, 96, bias=False), (7, 64)),
    (GeluLinear(64, 96), (2, 10, 64)),
    (Conv2d(32, 64, 3, padding=1), (2, 32, 9, 14)),
    (Conv2d(32, 64, 3, stride=2), (1, 32, 65, 65)),
    (Conv2d(32, 64, 1), (2, 32, 3, 3)),
]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=lambda case: str(case))
def test_a_packed_layer_is_the_plain_one_and_so_is_its_sum(layer: nn.Module, shape: tuple[int, ...]) -> None:
    plain = drawn(copy.deepcopy(layer))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(HALF)
    base = torch.randn(plain(x).shape, generator=torch.Generator().manual_seed(3)).to(HALF)
    exact = copy.deepcopy(plain).double()(x.double())
    assert far(packed(plain)(x), exact) < ROUNDING
    assert far(packed(plain)(x, onto=base), exact + base.double()) < ROUNDING
    assert far(plain(x, onto=base), exact + base.double()) < ROUNDING


def test_a_sum_with_a_tensor_of_another_memory_order_is_the_same() -> None:
    layer = packed(drawn(Conv2d(32, 32, 3, padding=1)))
    x, base = torch.randn(2, 1, 32, 8, 8).to(HALF).unbind()
    turned = base.contiguous(memory_format=torch.channels_last)
    assert not turned.is_contiguous()
    torch.testing.assert_close(layer(x, onto=base), layer(x, onto=turned))


def test_a_sum_is_rounded_once_where_the_weight_is_packed() -> None:
    plain = drawn(Linear(256, 256))
    x, base = torch.randn(2, 512, 256, generator=torch.Generator().manual_seed(2)).to(HALF).unbind()
    exact = copy.deepcopy(plain).double()(x.double()) + base.double()
    assert far(packed(plain)(x, onto=base), exact) < 0.85 * far(plain(x, onto=base), exact)  # measured: 0.71


@pytest.mark.parametrize("sides", [(16, 24), (13, 9)])
def test_a_packed_network_is_no_farther_from_float32_than_the_plain_one(sides: tuple[int, int]) -> None:
    net = drawn(Unet(CONFIG))
    x, time, tokens = given(*sides)
    exact = in_float32(net)(x.float(), time, tokens.float())
    assert far(packed(net)(x, time, tokens), exact) < 1.02 * far(net(x, time, tokens), exact) < 0.05


def test_a_state_and_unpacked_weights_are_to_the_bit_what_they_were() -> None:
    net = drawn(Unet(CONFIG))
    made = packed(net)
    for name, weight in made.state_dict().items():
        assert torch.equal(weight, net.state_dict()[name])
    unpack(made)
    assert not any(layer.weight.is_mkldnn for layer in layers(made).values())
    for name, weight in made.state_dict().items():
        assert torch.equal(weight, net.state_dict()[name])
    assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in convolutions(made))


def convolutions(net: nn.Module) -> list[Conv2d]:
    found = [module for module in net.modules() if isinstance(module, Conv2d)]
    assert found
    return found


def test_a_gradient_goes_through_a_packed_network_as_through_the_plain_one() -> None:
    net = drawn(Unet(CONFIG))
    gradients = []
    for one in (net, packed(net), recomputing(packed(net), Stage)):
        x, time, tokens = given()
        x.requires_grad_()
        one(x, time, tokens).square().sum().backward()
        gradients.append(x.grad)
    assert torch.equal(gradients[1], gradients[0])
    assert torch.equal(gradients[2], gradients[0])


def test_a_twin_shares_packed_weights_and_float32_runs_from_them() -> None:
    plain, (x, time, tokens) = drawn(Unet(CONFIG)), given()
    net = packed(plain)
    exact = in_float32(net)
    for made in (twin(net), exact):
        for name, layer in layers(made).items():
            assert layer.weight is layers(net)[name].weight
    assert torch.equal(exact(x.float(), time, tokens.float()), plain.float()(x.float(), time, tokens.float()))


def test_weights_that_are_trained_stay_as_they_are() -> None:
    layer = Linear(8, 8).to(HALF)
    pack(layer)
    assert not layer.weight.is_mkldnn


def test_float32_weights_stay_as_they_are() -> None:
    layer = Linear(8, 8).requires_grad_(False)
    pack(layer)
    assert not layer.weight.is_mkldnn
