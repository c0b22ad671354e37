"""Latent diffusion's autoencoder: diffusers' to rounding, and every key of the published files."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import networks, peer_networks
from torch import Tensor, nn

from scorefield.nets.kl import KL, Kl, KlConfig
from scorefield.weights import key_map
from scorefield.weights.key_maps import kl_keys as maps

LISTING = json.loads(lzma.decompress((Path(__file__).parent / "data" / "kl_keys.json.xz").read_bytes()))
TINY = KlConfig(width=32, multipliers=(1, 2, 2))
OTHER = KlConfig(width=32, multipliers=(1, 1, 3), resblocks=1, channels=3)
RENAMED = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}  # new to old


def randomised(module: nn.Module) -> nn.Module:
    """Every weight drawn, 3x3 convolutions so small that a norm's epsilon of 1e-5 shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                weight.copy_(drawn * weight[0].numel() ** -0.5 * (0.5 if weight.shape[-1] == 3 else 1))
            else:
                weight.copy_(1 + 0.2 * drawn if name.endswith("weight") else 0.05 * drawn)
    return module.eval().requires_grad_(False)


def loaded(config: KlConfig, path: Path, listed: list[key_map.Entry]) -> Kl:
    return networks.loaded(lambda: Kl(config), path, listed)


def pair(config: KlConfig, folder: Path) -> tuple[Kl, Any]:
    """Ours, read from the file that diffusers wrote, and theirs."""
    theirs: Any = randomised(peer_networks.kl(config))
    theirs.save_pretrained(folder)
    return loaded(config, folder / "diffusion_pytorch_model.safetensors", list(maps.diffusers(config))), theirs


def pixels(*sides: int) -> Tensor:
    return torch.rand(2, 3, *sides, generator=torch.Generator().manual_seed(1)) * 2 - 1


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return networks.relative_error(ours, theirs, least=0.05)


# The last has latents of 25 x 28: more positions than 512, so attention goes through torch's own kernel.
@pytest.mark.parametrize(("config", "sides"), [(TINY, (32, 24)), (OTHER, (20, 36)), (TINY, (100, 112))])
def test_an_autoencoder_read_from_diffusers_file_answers_as_diffusers_does(
    config: KlConfig, sides: tuple[int, int], tmp_path: Path
) -> None:
    ours, theirs = pair(config, tmp_path)
    expected = theirs.encode(pixels(*sides)).latent_dist
    mean, log_variance = ours.encode(pixels(*sides))
    assert relative_error(mean, expected.mean) <= 1e-5
    assert relative_error(log_variance, expected.logvar) <= 1e-5
    assert relative_error(ours.decode(mean), theirs.decode(mean).sample) <= 1e-5


def test_the_log_variance_is_held_between_minus_30_and_20(tmp_path: Path) -> None:
    ours, theirs = pair(TINY, tmp_path)
    for net in (ours.moments, theirs.quant_conv):
        net.weight *= 200
    _, log_variance = ours.encode(pixels(16, 16))
    assert (log_variance.min(), log_variance.max()) == (-30, 20)
    assert relative_error(log_variance, theirs.encode(pixels(16, 16)).latent_dist.logvar) <= 1e-5


@pytest.mark.parametrize("config", [TINY, OTHER])
def test_a_network_written_in_ldms_layout_reads_back_to_the_bit(config: KlConfig, tmp_path: Path) -> None:
    before = randomised(Kl(config)).state_dict()
    listed = list(key_map.under("", "first_stage_model.", maps.ldm(config)))
    save_file(key_map.write(listed, before), tmp_path / "whole.safetensors")
    after = loaded(config, tmp_path / "whole.safetensors", listed).state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_what_diffusers_wrote_is_written_again_to_the_bit(tmp_path: Path) -> None:
    ours, _ = pair(TINY, tmp_path)
    stored = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    written = key_map.write(list(maps.diffusers(TINY)), ours.state_dict())
    assert written.keys() == stored.keys()
    assert all(torch.equal(written[name], weight) for name, weight in stored.items())


def test_the_old_names_of_attention_hold_the_same_network(tmp_path: Path) -> None:
    ours, _ = pair(TINY, tmp_path)
    stored = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    for new, old in RENAMED.items():
        stored = {
            name.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): weight for name, weight in stored.items()
        }
    save_file(stored, tmp_path / "old.safetensors")
    again = loaded(TINY, tmp_path / "old.safetensors", maps.stored(TINY, stored)).state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in ours.state_dict().items())
    with pytest.raises(key_map.KeysError, match="16 missing"):
        loaded(TINY, tmp_path / "old.safetensors", list(maps.diffusers(TINY)))


def test_the_maps_name_every_key_of_the_published_files_with_its_shape() -> None:
    with torch.device("meta"):
        net = Kl(KL)
    shapes = {key: tuple(weight.shape) for key, weight in net.state_dict().items()}
    assert sum(weight.numel() for weight in net.parameters()) == LISTING["parameters"] == 83_653_863
    ldm, diffusers = list(maps.ldm(KL)), list(maps.diffusers(KL))
    for listed, column in ((ldm, 0), (diffusers, 1)):
        published = {row[column]: tuple(row[2 + column]) for row in LISTING["keys"]}
        named = [key for entry in listed for key in entry.theirs]
        assert len(named) == len(set(named)) == 248
        assert sorted(entry.ours for entry in listed) == sorted(shapes)
        key_map.check(listed, published)
        written = key_map.write(listed, net.state_dict())
        assert {key: tuple(weight.shape) for key, weight in written.items()} == published
    pairs = {pair for one, two in zip(ldm, diffusers, strict=True) for pair in zip(one.theirs, two.theirs, strict=True)}
    assert pairs == {(row[0], row[1]) for row in LISTING["keys"]}


def test_a_picture_of_another_size_is_one_clear_error() -> None:
    net = Kl(TINY)
    assert net.factor == 4
    assert net.latent_shape(3, 32, 24) == (3, 4, 8, 6)
    with pytest.raises(ValueError, match="picture of 30 x 32: sides must be multiples of 4"):
        net.encode(pixels(32, 30))
