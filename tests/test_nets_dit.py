"""The diffusion transformer: zero when new, its text and time matter, masks hide, rotations turn."""

import pytest
import torch

from scorefield.nets.dit import Dit, DitConfig, rotate, rotations, time_features
from scorefield.nets.probe import Attended, probed

SMALL = DitConfig(channels=4, width=32, depth=2, heads=2, text_width=12, refiner_depth=1, time_features=16)


def _net(random: bool = True) -> Dit:
    torch.manual_seed(0)
    net = Dit(SMALL).eval()
    if random:  # new gates are zero and would hide everything
        with torch.no_grad():
            for parameter in net.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return net


def _inputs(height: int = 8, width: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, height, width, generator=generator)
    tokens = torch.randn(2, 6, 12, generator=generator)
    return x, torch.tensor([20.0, 900.0]), tokens, torch.arange(6)[None] < torch.tensor([[3], [6]])


def _differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    assert a.isfinite().all()
    assert b.isfinite().all()
    return bool((a - b).abs().max() > 1e-3)


def test_a_new_network_returns_zeros_and_a_gradient() -> None:
    net = _net(random=False)
    y = net(*_inputs())
    assert torch.equal(y, torch.zeros(2, 4, 8, 8))
    (y - 1).square().mean().backward()
    assert net.last.weight.grad is not None
    assert net.last.weight.grad.abs().max() > 0


@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 10), (2, 2)])
def test_the_output_has_the_inputs_shape(height: int, width: int) -> None:
    x, *rest = _inputs(height, width)
    y = _net()(x, *rest)
    assert y.isfinite().all()
    assert y.shape == x.shape


def test_odd_grids_are_one_clear_error() -> None:
    with pytest.raises(ValueError, match="grid of 7 x 8 latents: both sides must be multiples of 2"):
        _net()(*_inputs(7, 8))


def test_heads_that_cannot_rotate_are_one_clear_error() -> None:
    with pytest.raises(ValueError, match="width 30 over 2 heads"):
        DitConfig(width=30, heads=2)


def test_time_text_and_state_each_change_the_output() -> None:
    net, (x, time, tokens, mask) = _net(), _inputs()
    y = net(x, time, tokens, mask)
    assert _differ(y, net(x, time + 300, tokens, mask))
    assert _differ(y, net(x, time, -tokens, mask))
    assert _differ(y, net(-x, time, tokens, mask))


def test_hidden_tokens_change_nothing() -> None:
    net, (x, time, tokens, mask) = _net(), _inputs()
    y = net(x, time, tokens, mask)
    loud = torch.where(mask[..., None], tokens, torch.full_like(tokens, 50.0))
    assert y.isfinite().all()
    torch.testing.assert_close(net(x, time, loud, mask), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x[:1], time[:1], tokens[:1, :3], mask[:1, :3]), y[:1], rtol=1e-4, atol=1e-5)


def test_an_all_hidden_prompt_gives_no_nan() -> None:
    x, time, tokens, mask = _inputs()
    assert _net()(x, time, tokens, mask & False).isfinite().all()


def test_a_probe_gets_every_blocks_attention_and_changes_no_bit() -> None:
    net, inputs = _net(), _inputs()
    y = net(*inputs)
    told: list[Attended] = []
    assert torch.equal(probed(net, told.append)(*inputs), y)
    assert len(told) == SMALL.depth
    assert [layer for layer, _, _ in told] == [f"blocks.{k}" for k in range(SMALL.depth)]
    for _, kind, weights in told:
        assert kind == "joint"
        assert weights.isfinite().all()
        assert weights.shape == (2, SMALL.heads, 16, 6 + 16)  # text keys, then the picture's
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, SMALL.heads, 16))
    assert told[0].weights[0, ..., 3:6].max() == 0  # hidden words
    assert told[0].weights[0, ..., :3].min() > 0
    assert torch.equal(net(*inputs), y)
    assert len(told) == SMALL.depth  # the network itself holds no probe


def test_the_probed_attention_belongs_to_the_words_in_their_order() -> None:
    net, (x, time, tokens, mask) = _net(), _inputs()
    told: list[Attended] = []
    twin = probed(net, told.append)
    twin(x, time, tokens, mask)
    twin(x, time, tokens.flip(1), mask.flip(1))
    words, again = (told[k].weights[..., :6] for k in (0, SMALL.depth))
    assert _differ(words, again)
    torch.testing.assert_close(words, again.flip(-1), rtol=1e-4, atol=1e-6)


def test_rotation_turns_by_the_distance_alone() -> None:
    """The product of a query and a key depends on where they stand to each other, not on where both stand."""
    turns = rotations(5, 6, 8, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 8, generator=generator).expand(30, 8) for _ in range(2))
    scores = (rotate(q, *turns) @ rotate(k, *turns).T).view(5, 6, 5, 6)
    assert scores.isfinite().all()
    torch.testing.assert_close(scores[1, 1, 3, 2], scores[2, 4, 4, 5])
    torch.testing.assert_close(rotate(q, *turns).norm(dim=1), q.norm(dim=1))
    assert abs(scores[1, 1, 3, 2] - scores[1, 1, 2, 3]) > 1e-3


def test_time_features_tell_neighbouring_times_apart() -> None:
    features = time_features(torch.tensor([0.0, 1.0, 999.0, 1000.0]), 16)
    assert features.isfinite().all()
    assert torch.equal(features[0], torch.tensor([1.0] * 8 + [0.0] * 8))
    assert torch.cdist(features, features).fill_diagonal_(9).min() > 0.1


def test_half_precision_follows_single() -> None:
    net, (x, time, tokens, mask) = _net(), _inputs()
    y = net(x, time, tokens, mask)
    low = net.bfloat16()(x.bfloat16(), time, tokens.bfloat16(), mask)
    assert low.dtype == torch.bfloat16
    assert low.isfinite().all()
    assert (low.float() - y).norm() < 0.05 * y.norm()


def test_the_embedded_size_fits_its_file() -> None:
    count = sum(p.numel() for p in Dit(DitConfig()).parameters())
    assert 7_500_000 < count <= 8_300_000
