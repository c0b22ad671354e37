"""The network of the plane: its waves, and that it has none unless they are asked for."""

import math

import torch

from scorefield.nets.mlp import PlaneConfig, PlaneNet, Waves


def test_waves_are_the_point_then_its_sines_and_cosines_of_periods_8_4_2() -> None:
    x = torch.tensor([[1.0, -0.5]])
    rates = [math.pi / 4, math.pi / 2, math.pi]
    angles = [value * rate for value in (1.0, -0.5) for rate in rates]
    expected = [1.0, -0.5, *map(math.sin, angles), *map(math.cos, angles)]
    torch.testing.assert_close(Waves(3)(x), torch.tensor([expected]), rtol=0, atol=1e-6)
    torch.testing.assert_close(Waves(3)(x + 8), torch.cat([x + 8, Waves(3)(x)[:, 2:]], 1), rtol=0, atol=1e-5)


def test_a_network_without_waves_sees_the_point_alone() -> None:
    x = torch.randn(5, 2)
    assert torch.equal(Waves(0)(x), x)
    net = PlaneNet(PlaneConfig(width=8))
    assert net.point.in_features == 2
    assert not [name for name in net.state_dict() if "waves" in name]


def test_a_network_with_waves_tells_apart_what_is_a_period_away_and_takes_any_batch() -> None:
    net = PlaneNet(PlaneConfig(width=8, waves=2))
    torch.nn.init.normal_(net.last.weight)
    x, time = torch.randn(5, 2), torch.full((5,), 300.0)
    out = net(x, time)
    assert out.shape == x.shape
    assert not torch.allclose(net(x + 8, time), out)
    torch.testing.assert_close(net(x[3:4], time[3:4]), out[3:4])
