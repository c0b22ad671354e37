"""The autoencoder: shapes, bounded latents, noise, locality, learning."""

import pytest
import torch

from scorefield.nets.autoencoder import Autoencoder, AutoencoderConfig

SMALL = AutoencoderConfig(channels=4, width_quarter=16, width_eighth=16, width_half=8)


def _net(seed: int = 0) -> Autoencoder:
    torch.manual_seed(seed)
    return Autoencoder(SMALL)


def _pixels(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("height", "width"), [(64, 64), (8, 40), (72, 32)])
def test_any_multiple_of_eight_goes_there_and_back(height: int, width: int) -> None:
    net, pixels = _net(), _pixels(2, height, width)
    x0 = net.encode(pixels)
    assert x0.shape == net.latent_shape(2, height, width) == (2, 4, height // 8, width // 8)
    back = net.decode(x0)
    assert back.isfinite().all()
    assert back.shape == pixels.shape


@pytest.mark.parametrize(("height", "width"), [(64, 60), (4, 64), (0, 8)])
def test_other_sizes_are_one_clear_error(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=rf"{width} x {height}: sides must be multiples of 8"):
        _net().encode(torch.zeros(1, 3, height, width))


def test_every_latent_position_has_unit_length() -> None:
    x0 = _net().encode(_pixels(2, 32, 32))
    assert x0.isfinite().all()
    torch.testing.assert_close(x0.square().mean(1), torch.ones(2, 4, 4), rtol=1e-3, atol=0)


def test_training_noise_is_scaled_by_the_configuration() -> None:
    net, pixels = _net(), _pixels(1, 16, 16)
    noise = torch.randn(net.latent_shape(1, 16, 16), generator=torch.Generator().manual_seed(2))
    expected = net.decode(net.encode(pixels) + SMALL.latent_noise * noise)
    assert torch.equal(net(pixels, noise), expected)
    assert not torch.equal(net(pixels), expected)


def test_the_batch_does_not_change_a_picture() -> None:
    net, pixels = _net(), _pixels(3, 32, 32)
    torch.testing.assert_close(net(pixels)[1:2], net(pixels[1:2]), rtol=1e-4, atol=1e-5)


def test_the_embedded_size_fits_its_file() -> None:
    count = sum(p.numel() for p in Autoencoder(AutoencoderConfig()).parameters())
    assert 3_000_000 < count < 8_000_000


def test_it_learns_one_picture() -> None:
    net, pixels = _net(), torch.full((1, 3, 16, 16), -0.5)
    pixels[..., 8:] = 0.7
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = (net(pixels) - pixels).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
