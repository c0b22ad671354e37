"""Wan's causal autoencoder: diffusers' to rounding, in chunks as at once, and every key of the published files."""

import json
import lzma
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from tests import networks, peer_networks
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scorefield.nets.causal_layers import CausalConv, RmsNorm, Stream
from scorefield.nets.causal_vae import WAN_22_VAE, WAN_VAE, CausalVae, CausalVaeConfig
from scorefield.nets.packed import Conv2d
from scorefield.weights import key_map
from scorefield.weights.key_maps import wan_vae_keys as maps

N = TypeVar("N", bound=nn.Module)
DATA = Path(__file__).parent / "data"
LISTING = json.loads(lzma.decompress((DATA / "wan_vae_keys.json.xz").read_bytes()))
TINY = CausalVaeConfig(channels=4, width=16, decoder_width=16, resblocks=1)
OTHER = CausalVaeConfig(
    channels=3, width=8, decoder_width=24, multipliers=(1, 1, 3), resblocks=2, halves_time=(True, False)
)
RESIDUAL = CausalVaeConfig(channels=6, width=16, decoder_width=32, resblocks=1, patch_size=2, shortcuts=True)


def randomised(module: N) -> N:
    """Every weight drawn."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1 and not name.endswith("gamma"):
                weight.copy_(drawn * weight[0].numel() ** -0.5)
            else:
                weight.copy_(0.05 * drawn if name.endswith("bias") else 1 + 0.2 * drawn)
    return module.eval().requires_grad_(False)


@cache
def pair(config: CausalVaeConfig) -> tuple[CausalVae, Any]:
    """Ours, with the weights of theirs, and theirs."""
    theirs = randomised(peer_networks.causal_vae(config))
    listed, stored = list(maps.diffusers(config)), theirs.state_dict()
    key_map.check(listed, stored)
    with torch.device("meta"):
        ours = CausalVae(config)
    ours.load_state_dict(networks.read_ours(ours.state_dict(), listed, stored.__getitem__), assign=True)
    return ours.eval().requires_grad_(False), theirs


def film(net: CausalVae, count: int) -> Tensor:
    """Two films of `count` frames, 3 x 2 latents large."""
    _, rows, columns = net.stride
    return torch.rand(2, count, 3, 3 * rows, 2 * columns, generator=torch.Generator().manual_seed(count)) * 2 - 1


def noise(net: CausalVae, length: int) -> Tensor:
    return torch.randn(2, net.config.channels, length, 3, 2, generator=torch.Generator().manual_seed(length))


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return networks.relative_error(ours, theirs, least=0.05)


@pytest.mark.parametrize("config", [TINY, RESIDUAL], ids=["wan 2.1", "wan 2.2"])
@pytest.mark.parametrize("count", [1, 5, 9, 17])
def test_a_film_is_encoded_and_decoded_as_diffusers_does(config: CausalVaeConfig, count: int) -> None:
    ours, theirs = pair(config)
    frames = film(ours, count)
    mean, log_variance = ours.encode(frames)
    expected = theirs.encode(frames.transpose(1, 2)).latent_dist
    assert mean.shape[1:] == ours.latent_shape(count, *frames.shape[-2:])
    assert relative_error(mean, expected.mean) <= 1e-5
    assert relative_error(log_variance, expected.logvar) <= 1e-5
    decoded = theirs.decode(mean).sample.transpose(1, 2)
    assert relative_error(ours.decode(mean).clamp(-1, 1), decoded) <= 1e-5


@pytest.mark.parametrize("config", [TINY, OTHER, RESIDUAL])
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_film_in_chunks_is_the_film_at_once(config: CausalVaeConfig, chunk: int) -> None:
    net = randomised(CausalVae(config))
    time = net.stride[0]
    frames, latents = film(net, 4 * time + 1), noise(net, 5)
    stream, sizes = Stream(2), [1, *[time * size for size in (chunk, 4 - chunk) if size]]
    means = [net.encode(part, stream)[0] for part in torch.split(frames, sizes, 1)]
    assert relative_error(torch.cat(means, 2), net.encode(frames)[0]) <= 1e-5
    stream = Stream(2)
    decoded = [net.decode(part, stream) for part in torch.split(latents, chunk, 2)]
    assert relative_error(torch.cat(decoded, 1), net.decode(latents)) <= 1e-5


def test_no_frame_sees_a_later_one() -> None:
    net, _ = pair(TINY)
    latents = noise(net, 4)
    other = torch.cat([latents[:, :, :2], noise(net, 9)[:, :, :2]], 2)
    one, two = net.decode(latents), net.decode(other)
    assert torch.equal(one[:, :5], two[:, :5])
    assert (one[:, 5] - two[:, 5]).abs().max() > 0.01


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("known", [0, 1, 2])
def test_a_convolution_by_frame_or_of_joined_frames_is_the_one_of_three_dimensions(side: int, known: int) -> None:
    torch.manual_seed(0)
    conv = CausalConv(16, 24, side).requires_grad_(False)
    past, x = torch.randn(2 * known, 16, 5, 4), torch.randn(14, 16, 5, 4)
    whole = conv.whole(past, x, 2)
    assert relative_error(conv.by_frame(past, x, 2), whole) <= 1e-6
    assert relative_error(conv.joined(past, x, 2), whole) <= 1e-6


def test_two_frames_of_a_convolution_cost_a_third_less_than_one_by_one() -> None:
    conv, past, x = CausalConv(16, 16), torch.randn(2, 16, 6, 6), torch.randn(4, 16, 6, 6)
    costs = []
    for run in (conv.by_frame, conv.whole):
        with FlopCounterMode(display=False) as counter:
            run(past, x, 1)
        costs.append(counter.get_total_flops())
    assert costs[0] * 3 == costs[1] * 2


@pytest.mark.parametrize("config", [TINY, RESIDUAL])
def test_channels_stay_last_in_memory(config: CausalVaeConfig) -> None:
    """Convolutions of a CPU would reorder every frame."""
    net = randomised(CausalVae(config))
    seen: list[bool] = []

    def look(_: nn.Module, __: object, out: Tensor) -> None:
        seen.append(out.is_contiguous(memory_format=torch.channels_last))

    for module in net.modules():
        if isinstance(module, CausalConv | Conv2d | RmsNorm):
            module.register_forward_hook(look)
    for batch in (1, 2):
        encoding, decoding = Stream(batch), Stream(batch)
        for part in torch.split(film(net, 9)[:batch], [1, 4, 4], 1):
            net.encode(part, encoding)
        for part in torch.split(noise(net, 3)[:batch], 1, 2):
            net.decode(part, decoding)
    assert all(seen)


def test_threads_share_a_network_with_streams_of_their_own() -> None:
    net, _ = pair(TINY)
    films = [noise(net, length) for length in (3, 4, 5)]

    def decoded(latents: Tensor) -> Tensor:
        stream = Stream(2)
        return torch.cat([net.decode(part, stream) for part in torch.split(latents, 1, 2)], 1)

    alone = [decoded(latents) for latents in films]
    with ThreadPoolExecutor(3) as pool:
        assert all(map(torch.equal, pool.map(decoded, films), alone))


def test_training_has_the_gradients_of_diffusers() -> None:
    ours, theirs = pair(TINY)
    frames, latents = film(ours, 9).requires_grad_(), noise(ours, 3).requires_grad_()
    decoded = ours.decode(latents)
    inside = decoded.detach().abs() < 0.99  # theirs is clamped, and has no gradient beyond 1
    mine = ours.encode(frames)[0].sin().sum() + (decoded * inside).sin().sum()
    other = theirs.encode(frames.transpose(1, 2)).latent_dist.mean.sin().sum()
    other = other + (theirs.decode(latents).sample.transpose(1, 2) * inside).sin().sum()
    gradients, expected = (torch.autograd.grad(loss, [frames, latents]) for loss in (mine, other))
    for one, two in zip(gradients, expected, strict=True):
        assert networks.relative_error(one, two, least=1e-4) <= 1e-5


def test_the_maps_name_every_key_of_the_published_files_with_its_shape() -> None:
    with torch.device("meta"):
        net = CausalVae(WAN_VAE)
    assert sum(weight.numel() for weight in net.parameters()) == LISTING["parameters"] == 126_892_531
    original, diffusers = list(maps.original(WAN_VAE)), list(maps.diffusers(WAN_VAE))
    for listed, column in ((original, 0), (diffusers, 1)):
        published = {row[column]: tuple(row[2 + column]) for row in LISTING["keys"]}
        named = [key for entry in listed for key in entry.theirs]
        assert len(named) == len(set(named)) == 194
        assert sorted(entry.ours for entry in listed) == sorted(net.state_dict())
        key_map.check(listed, published)
        written = key_map.write(listed, net.state_dict())
        assert {key: tuple(weight.shape) for key, weight in written.items()} == published
    pairs = {(one.theirs[0], two.theirs[0]) for one, two in zip(original, diffusers, strict=True)}
    assert pairs == {(row[0], row[1]) for row in LISTING["keys"]}


def test_the_maps_of_wan_22_name_every_key_of_the_published_files_with_its_shape() -> None:
    listing = json.loads(lzma.decompress((DATA / "wan_22_vae_keys.json.xz").read_bytes()))
    with torch.device("meta"):
        net = CausalVae(WAN_22_VAE)
    assert sum(weight.numel() for weight in net.parameters()) == listing["parameters"] == 704_688_668
    for layout in (maps.original, maps.diffusers):
        listed, published = list(layout(WAN_22_VAE)), listing[layout.__name__]
        key_map.check(listed, published)
        written = key_map.write(listed, net.state_dict())
        assert {key: list(weight.shape) for key, weight in written.items()} == published


@pytest.mark.parametrize("config", [TINY, OTHER, RESIDUAL])
def test_what_is_written_reads_back_to_the_bit(config: CausalVaeConfig) -> None:
    before = randomised(CausalVae(config)).state_dict()
    for layout in (maps.original, maps.diffusers):
        listed = list(layout(config))
        after = networks.read_ours(before, listed, key_map.write(listed, before).__getitem__)
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_a_film_of_another_size_is_one_clear_error() -> None:
    net, _ = pair(TINY)
    assert net.stride == (4, 8, 8)
    assert net.latent_shape(9, 32, 24) == (4, 3, 4, 3)
    with pytest.raises(ValueError, match="film of 8 frames: their number must be a multiple of 4, plus 1"):
        net.encode(film(net, 8))
    with pytest.raises(ValueError, match="film of 30 x 32: sides must be multiples of 8"):
        net.latent_shape(9, 32, 30)
    with pytest.raises(ValueError, match="3 levels: halves_time has 3 values"):
        CausalVaeConfig(multipliers=(1, 2, 2))
