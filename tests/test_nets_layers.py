"""Attention over few keys and the channel norm against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from scorefield.nets.layers import ChannelNorm, ConvBlock, attend, attention, hiding


def _heads(count: int, seed: int) -> torch.Tensor:
    return torch.randn(2, 3, count, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("keys", [7, 600])  # either side of the fused kernel's use
def test_attention_is_torchs(hidden: bool, keys: int) -> None:
    q, k, v = _heads(5, 0), _heads(keys, 1), _heads(keys, 2)
    allowed = torch.ones(2, 1, 1, keys, dtype=torch.bool)
    allowed[0, ..., 4:] = not hidden
    mixed = attend(q, k, v, hiding(allowed, torch.float32) if hidden else None)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    assert mixed.isfinite().all()
    torch.testing.assert_close(mixed, expected, rtol=1e-5, atol=1e-6)


def test_a_row_without_keys_gives_no_nan() -> None:
    q, v = _heads(2, 0), _heads(4, 1)
    mixed = attend(q, v, v, hiding(torch.zeros(2, 1, 1, 4, dtype=torch.bool), torch.float32))
    assert mixed.isfinite().all()


def test_the_weights_of_attention_are_those_that_it_mixes_with() -> None:
    q, k, v = _heads(5, 0), _heads(7, 1), _heads(7, 2)
    allowed = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    allowed[0, ..., 4:] = False
    weights = attention(q, k, hiding(allowed, torch.float32))
    assert weights.shape == (2, 3, 5, 7)
    assert weights[0, ..., 4:].max() == 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))
    torch.testing.assert_close(weights @ v, attend(q, k, v, hiding(allowed, torch.float32)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(attention(q, k) @ v, attend(q, k, v), rtol=1e-5, atol=1e-6)


def test_the_channel_norm_makes_each_position_unit() -> None:
    x = 5 + 3 * torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    normed = ChannelNorm(16)(x)
    assert normed.isfinite().all()
    torch.testing.assert_close(normed.mean(1), torch.zeros(2, 4, 6), rtol=0, atol=1e-5)
    torch.testing.assert_close(normed.var(1, correction=0), torch.ones(2, 4, 6), rtol=1e-3, atol=0)


def test_a_new_convolution_block_is_the_identity() -> None:
    x = torch.randn(1, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ConvBlock(8)(x), x)
