"""CLIP: unit vectors, causal text, pooling at the end token, and the standard blocks."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scorefield.nets.clip import Block, Clip, ClipConfig, TextConfig, VisionConfig, quick_gelu

SMALL = ClipConfig(
    vision=VisionConfig(width=32, layers=2, heads=4, patch_size=8, image_size=32),
    text=TextConfig(width=24, layers=2, heads=3, context_length=10, vocab_size=50, end_id=1),
    embed_dim=16,
)
IDS = torch.tensor([[0, 7, 9, 1, 2, 2], [0, 30, 8, 5, 6, 1]])
MASK = IDS != 2


def _clip(config: ClipConfig = SMALL) -> Clip:
    torch.manual_seed(0)
    return Clip(config).eval()


def test_both_encoders_give_unit_vectors_of_the_shared_space() -> None:
    clip = _clip()
    for vectors in (clip.encode_image(torch.rand(2, 3, 32, 32) * 2 - 1), clip.encode_text(IDS, MASK)):
        assert vectors.isfinite().all()
        assert vectors.shape == (2, 16)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


def test_a_block_is_torchs_pre_norm_transformer_layer() -> None:
    torch.manual_seed(0)
    block = Block(24, 3, "gelu").eval()
    layer = nn.TransformerEncoderLayer(24, 3, 96, 0.0, F.gelu, batch_first=True, norm_first=True).eval()
    names = {
        "norm1": layer.norm1,
        "norm2": layer.norm2,
        "attention.out": layer.self_attn.out_proj,
        "fc1": layer.linear1,
        "fc2": layer.linear2,
    }
    for name, target in names.items():
        target.load_state_dict(block.get_submodule(name).state_dict())
    qkv = {"in_proj_weight": block.attention.qkv.weight, "in_proj_bias": block.attention.qkv.bias}
    layer.self_attn.load_state_dict(qkv, strict=False)
    x = torch.randn(2, 6, 24)
    y = block(x)
    assert y.isfinite().all()
    torch.testing.assert_close(y, layer(x), rtol=1e-5, atol=1e-5)


def test_text_is_causal() -> None:
    clip, other = _clip(), IDS.clone()
    other[:, 3:] = 12
    before, after = clip.text_hidden(IDS), clip.text_hidden(other)
    assert before.isfinite().all()
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert (before[:, 3:] - after[:, 3:]).abs().amax(2).min() > 1e-3


def test_the_encoder_reads_vectors_as_it_reads_the_tokens_that_they_belong_to() -> None:
    text = _clip().text
    assert torch.equal(text.read(text.tokens(IDS), MASK), text(IDS, MASK))
    with pytest.raises(ValueError, match="11 tokens: this text encoder reads at most 10"):
        text.read(torch.zeros(1, 11, 24))


def test_padding_changes_no_prompt() -> None:
    clip, longer = _clip(), F.pad(IDS, (0, 3), value=2)
    short = clip.encode_text(IDS, MASK)
    assert short.isfinite().all()
    torch.testing.assert_close(clip.encode_text(longer, longer != 2), short)
    torch.testing.assert_close(clip.encode_text(longer), short)


def test_the_summary_is_at_the_first_end_token() -> None:
    clip = _clip()
    twice = torch.tensor([[0, 7, 1, 9, 1]])
    assert clip.text.end(twice).tolist() == [2]
    expected = F.normalize(clip.text.projection(clip.text_hidden(twice)[:, 2]), dim=-1)
    torch.testing.assert_close(clip.encode_text(twice), expected)


def test_without_an_end_id_the_summary_is_at_the_largest_id() -> None:
    text = TextConfig(width=24, layers=1, heads=3, context_length=10, vocab_size=50, end_id=None)
    clip = _clip(ClipConfig(vision=SMALL.vision, text=text, embed_dim=16))
    assert clip.text.end(torch.tensor([[48, 3, 49, 0, 0], [48, 49, 0, 0, 0]])).tolist() == [2, 1]


def test_the_class_token_is_first_and_positions_matter() -> None:
    clip, pixels = _clip(), torch.rand(1, 3, 32, 32)
    assert clip.vision(pixels).shape == (1, 1 + 16, 32)
    apart = clip.encode_image(pixels) - clip.encode_image(pixels.flip(3))
    assert apart.norm() > 1e-3


def test_a_stem_of_convolutions_gives_one_state_a_patch_and_sees_over_its_edge() -> None:
    config = VisionConfig(width=16, layers=1, heads=2, patch_size=8, image_size=32, stem="convolutions")
    clip = _clip(replace(SMALL, vision=config))
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert clip.vision(pixels).shape == (1, 1 + 16, 16)
    touched = pixels.clone()
    touched[..., 7, 7] += 1  # the last pixel of the first patch
    moved = (clip.vision.patch(touched) - clip.vision.patch(pixels)).abs().amax(1)[0] > 0
    assert moved[:2, :2].all()
    assert not moved[2:].any()
    assert not moved[:, 2:].any()


def test_quick_gelu_is_its_own_activation() -> None:
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(quick_gelu(x), x / (1 + (-1.702 * x).exp()))
    quick = ClipConfig(vision=SMALL.vision, text=SMALL.text, embed_dim=16, activation="quick_gelu")
    assert not torch.allclose(_clip(quick).encode_text(IDS), _clip().encode_text(IDS), atol=1e-5)


def test_wrong_shapes_are_one_clear_error() -> None:
    with pytest.raises(ValueError, match=r"sees \(B, 3, 32, 32\)"):
        _clip().encode_image(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="11 tokens: this text encoder reads at most 10"):
        _clip().encode_text(torch.zeros(1, 11, dtype=torch.long))


def test_the_embedded_size_fits_its_file() -> None:
    assert sum(p.numel() for p in Clip(ClipConfig()).parameters()) < 8_000_000
