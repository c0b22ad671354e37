"""The codec: scale and shift, clamping, previews, sizes, dtype."""

import pytest
import torch

from scorefield.latent.latent_codec import fit_statistics
from scorefield.latent.scenes_codec import Codec
from scorefield.nets.autoencoder import Autoencoder, AutoencoderConfig
from scorefield.notes import HalfPrecisionWarning

SMALL = AutoencoderConfig(channels=4, width_quarter=16, width_eighth=16, width_half=8)


def _codec() -> Codec:
    torch.manual_seed(0)
    codec = Codec(Autoencoder(SMALL)).eval().requires_grad_(False)
    codec.shift.copy_(torch.tensor([0.5, -0.2, 0.0, 1.0]))
    codec.scale.copy_(torch.tensor([0.5, 2.0, 0.8, 1.0]))
    codec.preview_weight.copy_(0.1 * torch.randn(3, 4))
    codec.preview_bias.copy_(torch.tensor([0.0, 0.3, -0.3]))
    return codec


def _pixels() -> torch.Tensor:
    return torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_latents_are_shifted_and_scaled_by_channel_and_back() -> None:
    codec, pixels = _codec(), _pixels()
    raw = codec.autoencoder.encode(pixels)
    x0 = codec.encode(pixels)
    assert x0.isfinite().all()
    torch.testing.assert_close(x0[:, 0], (raw[:, 0] - 0.5) / 0.5)
    torch.testing.assert_close(x0[:, 1], (raw[:, 1] + 0.2) / 2)
    torch.testing.assert_close(codec.decode(x0), codec.autoencoder.decode(raw).clamp(-1, 1), rtol=1e-4, atol=1e-5)


def test_decoded_pixels_stay_in_range() -> None:
    codec = _codec()
    pixels = codec.decode(100 * torch.randn(1, 4, 3, 2, generator=torch.Generator().manual_seed(0)))
    assert pixels.isfinite().all()
    assert pixels.min() == -1
    assert pixels.max() == 1


def test_the_preview_is_the_linear_map_at_each_position() -> None:
    codec = _codec()
    x0 = torch.randn(1, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    small = codec.preview(x0)
    assert small.isfinite().all()
    assert small.shape == (1, 3, 3, 2)
    torch.testing.assert_close(small[0, :, 2, 1], codec.preview_weight @ x0[0, :, 2, 1] + codec.preview_bias)
    assert codec.preview(1000 * x0).abs().max() == 1


def test_the_shape_takes_width_then_height() -> None:
    codec = _codec()
    assert codec.size_factor == 8
    assert codec.shape(16, 24) == tuple(codec.encode(_pixels()).shape[1:]) == (4, 3, 2)
    with pytest.raises(ValueError, match="20 x 24: sides must be multiples of 8"):
        codec.shape(20, 24)


def test_states_are_float32_whatever_the_autoencoder_runs_in() -> None:
    codec, pixels = _codec(), _pixels()
    x0, back = codec.encode(pixels), codec.decode(codec.encode(pixels))
    codec.autoencoder.bfloat16()
    assert codec.dtype == torch.bfloat16
    low = codec.encode(pixels)
    assert low.dtype == codec.decode(low).dtype == codec.preview(low).dtype == torch.float32
    assert (low - x0).norm() < 0.05 * x0.norm()
    assert (codec.decode(x0) - back).abs().max() < 0.1


def test_a_picture_that_half_precision_cannot_decode_is_decoded_in_float32() -> None:
    """The middle one of three overflows: it alone comes from a float32 copy, which is not kept."""
    codec = _codec()
    x0 = torch.randn(3, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    x0[1] *= 3e4
    full = codec.decode(x0)
    codec.autoencoder.half()
    with pytest.warns(HalfPrecisionWarning, match=r"autoencoder's answer \(torch.float16\).* in sample 1 of the batch"):
        half = codec.decode(x0)
    assert half.isfinite().all()
    assert (half - full).abs().max() < 0.05
    assert codec.dtype == torch.float16


def test_a_picture_that_half_precision_cannot_encode_is_encoded_in_float32() -> None:
    codec, pixels = _codec(), _pixels()
    full = codec.encode(1e3 * pixels)
    codec.autoencoder.half()
    codec.autoencoder.encoder[1].weight.mul_(1e3)
    with pytest.warns(HalfPrecisionWarning, match="autoencoder's answer"):
        half = codec.encode(1e3 * pixels)
    assert half.isfinite().all()
    assert half.shape == full.shape


def test_what_is_beyond_float32_too_is_returned_as_it_is() -> None:
    codec = _codec()
    codec.autoencoder.half()
    x0 = torch.full((1, 4, 3, 2), torch.nan)
    with pytest.warns(HalfPrecisionWarning):
        assert not codec.decode(x0).isfinite().any()


def test_statistics_of_latents_find_a_linear_map_to_colours() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(400, 4, generator=generator) * torch.tensor([1.0, 2.0, 0.5, 3.0]) + torch.arange(4)
    colours = latents @ torch.randn(4, 3, generator=generator) + 0.25
    mean, deviation, fitted = fit_statistics(latents, colours)
    x0 = (latents - mean) / deviation
    assert torch.allclose(x0.mean(0), torch.zeros(4).double(), atol=1e-6)
    assert torch.allclose(x0.std(0), torch.ones(4).double())
    assert torch.allclose(x0 @ fitted[:-1] + fitted[-1], colours.double(), atol=1e-5)
