"""Wan's networks at their published sizes, whole where memory allows it, one network in memory at a time.

All are slow: `make parity` runs them in some minutes, with up to 14 GB of memory and 12 GB of disk.
"""

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests import networks, peer_networks, test_nets_causal_vae, test_nets_umt5, test_nets_video_dit, wan_files
from tests.networks import relative_error
from torch import Tensor

from scorefield.conversion.convert import convert
from scorefield.families.fill import hollow
from scorefield.nets import video_dit
from scorefield.nets.causal_vae import WAN_22_VAE, WAN_VAE, CausalVae, CausalVaeConfig
from scorefield.nets.clip import VIT_H_14, ImageEncoder
from scorefield.nets.umt5 import UMT5_XXL, Umt5Encoder
from scorefield.nets.video_dit import VideoDit
from scorefield.weights.key_map import write
from scorefield.weights.key_maps import clip_keys, umt5_keys, wan_keys, wan_vae_keys
from scorefield.weights.safetensors_file import Planned, saving

pytestmark = pytest.mark.slow

DEPTHS = {  # of blocks that are in memory: all of the smallest, two of the others
    "WAN_T2V_1_3B": 30, "WAN_T2V_14B": 2, "WAN_I2V_14B": 2, "WAN_FLF2V_14B": 2, "WAN22_I2V_A14B": 2, "WAN22_TI2V_5B": 2,
}  # fmt: skip
ENCODES = """
import resource
import torch
import scorefield as sf
words = sf.load({path!r}, device="cpu", dtype="bfloat16", cache=False).stage.conditioner.encoder
with torch.no_grad():
    states = words(torch.arange(3, 40)[None], torch.ones(1, 37, dtype=torch.bool))
print(bool(states.isfinite().all()), float(states.float().std()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", DEPTHS)
@torch.no_grad()
def test_a_transformer_answers_as_diffusers_does_from_both_layouts(name: str, tmp_path: Path) -> None:
    config = replace(getattr(video_dit, name), depth=DEPTHS[name], like="diffusers")
    pictures = config.in_channels - config.out_channels
    x, words = drawn(1, config.out_channels, 2, 8, 8), drawn(1, 512, 4096)
    joined = {"image": drawn(1, pictures, 2, 8, 8)} if pictures else {}
    tokens = {"image_tokens": drawn(1, config.image_positions or 257, 1280)} if config.image_width else {}
    theirs = test_nets_video_dit.randomised(peer_networks.video_dit(config))
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="50GB")  # type: ignore[operator]
    seen = {"encoder_hidden_states_image": tokens["image_tokens"].reshape(-1, 257, 1280)} if tokens else {}
    wanted = theirs(torch.cat([x, *joined.values()], 1), torch.tensor([981.0]), words, **seen).sample
    del theirs
    file = tmp_path / "theirs" / "diffusion_pytorch_model.safetensors"
    ours = networks.loaded(lambda: VideoDit(config), file, list(wan_keys.diffusers(config)))
    answer = ours(x=x, time=torch.tensor([981.0]), tokens=words, **joined, **tokens)
    del ours
    error = relative_error(answer, wanted, least=0.1)
    sys.stdout.write(f"{name}, {config.depth} blocks: relative error {error:.1e}\n")
    assert error <= 1e-5
    original = convert(file, tmp_path / "original.safetensors")
    file.unlink()
    again = networks.loaded(lambda: VideoDit(config), original, list(wan_keys.original(config)))
    original.unlink()
    assert torch.equal(again(x=x, time=torch.tensor([981.0]), tokens=words, **joined, **tokens), answer)


@pytest.mark.parametrize("config", [WAN_VAE, WAN_22_VAE], ids=["wan 2.1", "wan 2.2"])
@torch.no_grad()
def test_an_autoencoder_answers_as_diffusers_does_from_both_layouts(config: CausalVaeConfig, tmp_path: Path) -> None:
    theirs = test_nets_causal_vae.randomised(peer_networks.causal_vae(config))
    theirs.save_pretrained(tmp_path / "theirs")
    file = tmp_path / "theirs" / "diffusion_pytorch_model.safetensors"
    original = convert(file, tmp_path / "original.safetensors")
    film = drawn(1, 5, 3, 64, 64).clamp(-1, 1)
    moments = theirs.encode(film.movedim(1, 2)).latent_dist
    decoded = theirs.decode(moments.mean).sample.movedim(2, 1)
    for path, entries in ((file, wan_vae_keys.diffusers(config)), (original, wan_vae_keys.original(config))):
        ours = networks.loaded(lambda: CausalVae(config), path, list(entries))
        mean, log_variance = ours.encode(film)
        for got, wanted in ((mean, moments.mean), (log_variance, moments.logvar), (ours.decode(mean), decoded)):
            error = relative_error(got.clamp(-1, 1) if got.shape[2] == 3 else got, wanted, least=0.01)
            sys.stdout.write(f"autoencoder of {config.channels} channels, {path.stem}: relative error {error:.1e}\n")
            assert error <= 1e-5


@torch.no_grad()
def test_the_picture_encoder_answers_as_transformers_does(tmp_path: Path) -> None:
    theirs = test_nets_umt5.randomised(peer_networks.vision(VIT_H_14))
    theirs.save_pretrained(tmp_path, max_shard_size="50GB")  # type: ignore[operator]
    pixels = drawn(1, 3, 224, 224)
    wanted = theirs(pixels, output_hidden_states=True).hidden_states[-2]
    del theirs
    file, layers = tmp_path / "model.safetensors", VIT_H_14.vision.layers
    keys = networks.names(file)
    ours = networks.loaded(
        lambda: ImageEncoder(VIT_H_14.vision, None, VIT_H_14.activation),
        file,
        clip_keys.stored_vision(VIT_H_14.vision, keys),
    )
    error = relative_error(ours.states(pixels, layers - 1), wanted, least=0.1)
    sys.stdout.write(f"picture encoder: relative error {error:.1e}\n")
    assert error <= 1e-5


@torch.no_grad()
def test_the_text_encoder_of_full_width_answers_as_transformers_does(tmp_path: Path) -> None:
    """Two of its 24 layers."""
    config = replace(UMT5_XXL, layers=2)
    theirs = test_nets_umt5.randomised(peer_networks.umt5(config))
    theirs.save_pretrained(tmp_path, max_shard_size="50GB")  # type: ignore[operator]
    ids, mask = torch.arange(3, 40)[None], torch.ones(1, 37, dtype=torch.bool)
    wanted = theirs(ids, mask).last_hidden_state
    del theirs
    ours = networks.loaded(
        lambda: Umt5Encoder(config), tmp_path / "model.safetensors", list(umt5_keys.transformers(config))
    )
    error = relative_error(ours(ids, mask), wanted, least=0.1)
    sys.stdout.write(f"text encoder, 2 layers: relative error {error:.1e}\n")
    assert error <= 1e-5


def test_the_whole_text_encoder_in_bfloat16_loads_and_answers_below_14_gb(tmp_path: Path) -> None:
    nets = wan_files.nets()
    path = wan_files.comfy(tmp_path, nets)
    with hollow():
        encoder = Umt5Encoder(UMT5_XXL)
    shapes = {
        key: tuple(one.shape) for key, one in write(umt5_keys.transformers(UMT5_XXL), encoder.state_dict()).items()
    }
    words = wan_files.with_spiece(nets)["spiece_model"]
    planned = {key: Planned(torch.bfloat16, shape) for key, shape in shapes.items()}
    planned["spiece_model"] = Planned(torch.uint8, tuple(words.shape))

    def tensors() -> Iterator[tuple[str, Tensor]]:
        numbers = torch.randn(1 << 22, generator=torch.Generator().manual_seed(0)).bfloat16()
        for key, shape in shapes.items():
            count = math.prod(shape)
            whole = numbers.repeat(count // len(numbers) + 1)[:count].view(shape)
            yield key, whole * shape[1] ** -0.5 if len(shape) == 2 and "shared" not in key else whole
        yield "spiece_model", words

    for _ in saving(tmp_path / wan_files.ENCODER / wan_files.TEXT_FILE, planned, tensors(), {}):
        pass
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ENCODES.format(path=str(path))],
        capture_output=True,
        text=True,
        check=True,
    )
    finite, deviation, peak = done.stdout.split()
    sys.stdout.write(f"whole text encoder in bfloat16: peak of the process {int(peak) * 1024 / 1e9:.1f} GB\n")
    assert finite == "True"
    assert float(deviation) > 0.01
    assert int(peak) * 1024 < 14e9
