"""The codec of films: statistics, previews, streams of constant memory, tiles, and what half precision breaks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.networks import relative_error
from tests.test_nets_causal_vae import RESIDUAL, TINY, randomised
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from scorefield.families.fill import Filling
from scorefield.latent.film_codec import FilmCodec
from scorefield.latent.wan_latents import WAN_21, WAN_22, FilmLatents
from scorefield.model.codec import Canvas, Codec
from scorefield.model.system import Place
from scorefield.nets.causal_vae import CausalVae, CausalVaeConfig
from scorefield.notes import HalfPrecisionWarning
from scorefield.weights import key_map
from scorefield.weights.checkpoint import Reader
from scorefield.weights.key_maps import wan_vae_keys as maps

LATENTS = FilmLatents(
    mean=(0.5, -0.2, 0, 1),
    deviation=(0.5, 2, 0.8, 1),
    colours=((0.1, 0.2, 0.3), (0, -0.1, 0), (0.2, 0, 0), (0, 0, 0.1), (0.1, 0, -0.1)),
)


def film_codec(config: CausalVaeConfig = TINY) -> FilmCodec:
    missing = config.channels - TINY.channels
    grey = ((0.0, 0.0, 0.0),) * missing
    latents = FilmLatents(
        (*LATENTS.mean, *[0.0] * missing), (*LATENTS.deviation, *[1.0] * missing), (*grey, *LATENTS.colours)
    )
    return FilmCodec(randomised(CausalVae(config)), latents)


def film(count: int, height: int = 16, width: int = 24) -> Tensor:
    return torch.rand(2, count, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def noise(length: int, height: int = 2, width: int = 3, channels: int = 4) -> Tensor:
    return torch.randn(2, channels, length, height, width, generator=torch.Generator().manual_seed(1))


def test_latents_are_shifted_and_scaled_by_channel_and_back() -> None:
    codec: Codec = (made := film_codec())
    raw = made.autoencoder.encode(film(9))[0]
    x0 = codec.encode(film(9))
    assert codec.stride == (4, 8, 8)
    assert codec.shape(Canvas(width=24, height=16, frames=9)) == tuple(x0.shape[1:]) == (4, 3, 2, 3)
    torch.testing.assert_close(x0[:, 0], (raw[:, 0] - 0.5) / 0.5)
    torch.testing.assert_close(x0[:, 1], (raw[:, 1] + 0.2) / 2)
    chunks = list(codec.decode(x0))
    assert [chunk.shape[1] for chunk in chunks] == [1, 4, 4]
    frames = torch.cat(chunks, 1)
    assert relative_error(frames, made.autoencoder.decode(raw).clamp(-1, 1), least=0.05) <= 1e-5
    assert frames.abs().max() == 1


def test_the_preview_is_the_linear_map_at_each_position() -> None:
    codec, x0 = film_codec(), noise(3)
    small = codec.preview(x0)
    assert small.shape == (2, 3, 3, 2, 3)
    rows, bias = torch.tensor(LATENTS.colours).split([4, 1])
    torch.testing.assert_close(small[1, 2, :, 1, 0], x0[1, :, 2, 1, 0] @ rows + bias[0])
    assert codec.preview(1000 * x0).abs().max() == 1


@pytest.mark.parametrize(("latents", "channels"), [(WAN_21, 16), (WAN_22, 48)])
def test_the_published_statistics_are_of_every_channel(latents: FilmLatents, channels: int) -> None:
    assert len(latents.mean) == len(latents.deviation) == len(latents.colours) - 1 == channels
    assert min(latents.deviation) > 0
    assert {len(colour) for colour in latents.colours} == {3}


def test_a_film_that_has_no_latents_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match="film of 10 frames"):
        film_codec().shape(Canvas(width=24, height=16, frames=10))
    with pytest.raises(ValueError, match="film of 20 x 16"):
        film_codec().encode(film(5, 16, 20))


def peak(run: Callable[[], None]) -> int:
    """The most bytes that tensors made in `run` hold at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events = seen.profiler.kineto_results.events()  # type: ignore[union-attr]
    held = most = 0
    for _, size in sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"):
        held += size
        most = max(most, held)
    return most


@pytest.mark.parametrize(("config", "frames"), [(TINY, (17, 81, 161)), (RESIDUAL, (9, 41))], ids=["wan 2.1", "wan 2.2"])
def test_the_memory_of_decoding_and_encoding_does_not_grow_with_the_film(
    config: CausalVaeConfig, frames: tuple[int, ...]
) -> None:
    """Of the films themselves alone: frames are dropped as they come, the latents are less than a hundredth of them."""
    codec = film_codec(config)

    def decode(length: int) -> Callable[[], None]:
        x0 = noise(length, channels=config.channels)[:1]

        def run() -> None:
            for _ in codec.decode(x0):
                pass

        return run

    peaks = [peak(decode(1 + count // 4)) for count in frames]
    assert max(peaks) <= 1.1 * min(peaks)
    films = [film(count, 32, 32)[:1] for count in (9, 33)]
    short, long = (peak(lambda part=part: codec.encode(part)) for part in films)  # type: ignore[misc]
    assert long <= 1.1 * short


def test_a_film_of_wan_22_in_chunks_is_the_film_at_once() -> None:
    codec, x0 = film_codec(RESIDUAL), noise(5, channels=RESIDUAL.channels)
    assert codec.shape(Canvas(width=48, height=32, frames=17)) == (6, 5, 2, 3)
    chunks = list(codec.decode(x0))
    assert [chunk.shape[1] for chunk in chunks] == [1, 4, 4, 4, 4]
    whole = codec.autoencoder.decode(x0 * codec.deviation + codec.mean).clamp(-1, 1)
    assert relative_error(torch.cat(chunks, 1), whole, least=0.05) <= 1e-5
    frames = film(9, 32, 48)
    at_once = (codec.autoencoder.encode(frames)[0] - codec.mean) / codec.deviation
    assert relative_error(codec.encode(frames), at_once, least=0.05) <= 1e-5


def test_tiles_are_the_film_but_for_what_a_tile_does_not_see() -> None:
    codec, x0 = film_codec(), noise(2, 10, 12)
    whole, tiled = (list(codec.decode(x0, tile)) for tile in ("off", 64))  # type: ignore[arg-type]
    assert [chunk.shape for chunk in whole] == [chunk.shape for chunk in tiled]
    assert relative_error(torch.cat(tiled, 1), torch.cat(whole, 1), least=0.05) < 0.2
    one = list(codec.decode(x0, 128))
    assert relative_error(torch.cat(one, 1), torch.cat(whole, 1), least=0.05) <= 1e-5
    frames = film(5, 80, 96)[:1]
    assert relative_error(codec.encode(frames, 64), codec.encode(frames, "off"), least=0.05) < 0.2


def test_samples_that_half_precision_cannot_decode_are_decoded_in_float32() -> None:
    """The second sample overflows at its third latent: from there it comes from a float32 run."""
    codec, x0 = film_codec(), noise(5)
    x0[1, :, 2] *= 1e6
    full = torch.cat(list(codec.decode(x0)), 1)
    codec.autoencoder.half()
    assert codec.dtype == torch.float16
    with pytest.warns(HalfPrecisionWarning, match=r"\(torch.float16\) is not finite in sample 1 of the batch") as notes:
        half = torch.cat(list(codec.decode(x0)), 1)
    assert len(notes) == 1
    assert half.isfinite().all()
    assert half.dtype == torch.float32
    assert relative_error(half[1, 5:], full[1, 5:], least=0.05) < 2e-3
    assert relative_error(half[0], full[0], least=0.05) < 0.02


def test_samples_that_half_precision_cannot_encode_are_encoded_in_float32() -> None:
    codec, frames = film_codec(), film(9)
    frames[0, 5:] *= 1e6
    full = codec.encode(frames)
    codec.autoencoder.half()
    with pytest.warns(HalfPrecisionWarning, match="is not finite in sample 0 of the batch"):
        half = codec.encode(frames)
    assert relative_error(half[0, :, 2:], full[0, :, 2:], least=0.05) < 2e-3


def test_a_file_of_wan_is_read_in_bfloat16(tmp_path: Path) -> None:
    net = randomised(CausalVae(TINY))
    listed, path = list(maps.original(TINY)), tmp_path / "vae.safetensors"
    save_file(key_map.write(listed, net.state_dict()), path)
    reader = Reader(path)
    fill = Filling(Place(device=torch.device("cpu"), dtype=torch.bfloat16))
    low = FilmCodec(fill(lambda: CausalVae(TINY), "vae", listed, reader, reader.tensors), LATENTS)
    high = FilmCodec(net, LATENTS)
    x0 = noise(3)
    pairs = [
        (low.encode(film(9)), high.encode(film(9))),
        (torch.cat([*low.decode(x0)], 1), torch.cat([*high.decode(x0)], 1)),
    ]
    for rounded, exact in pairs:
        assert rounded.dtype == torch.float32
        assert 0 < relative_error(rounded, exact, least=0.05) < 0.03
