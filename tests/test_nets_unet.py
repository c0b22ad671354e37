"""Latent diffusion's U-Net: diffusers' to rounding, and every key of the published files."""

import importlib
import json
import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import networks, peer_networks
from torch import Tensor, nn

from scorefield.nets import unet
from scorefield.nets.unet import SD2, SDXL, Unet, UnetConfig, time_features
from scorefield.weights import key_map
from scorefield.weights.key_maps import unet_keys as maps

LISTINGS = json.loads(lzma.decompress((Path(__file__).parent / "data" / "unet_keys.json.xz").read_bytes()))
TINY = UnetConfig(channels=32, multipliers=(1, 2, 2), depths=(1, 1, 0), heads=4, context_width=24)
TINY2 = replace(TINY, heads=None, head_width=16, linear_projections=True)
KINDS = {
    "SD 1": TINY,
    "SD 1 inpainting": replace(TINY, in_channels=9),
    "SD 2": TINY2,
    "SD 2 inpainting": replace(TINY2, in_channels=9),
    "SD 2.1 unclip": replace(TINY2, pooled_width=20),
    "SDXL": replace(TINY2, multipliers=(1, 2), depths=(0, 2), middle_depth=2, pooled_width=16 + 6 * 8),
}


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight drawn, those too that start at 0 or 1.

    The sizes make faults visible: states so small that a norm's epsilon of 1e-5 for 1e-6, or 1e-6 for 1e-5, is an error
    of 1e-4 in the answer, and feed-forward layers so large that a GELU of another form is 2e-4.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                weight.copy_(drawn * weight[0].numel() ** -0.5 * (0.2 if weight.shape[-1] == 3 else 1))
            else:
                norm = name.endswith("weight")
                weight.copy_(1 + 0.2 * drawn if norm else 0.05 * drawn)
    return module.eval().requires_grad_(False)


def loaded(config: UnetConfig, path: Path, listed: list[key_map.Entry]) -> Unet:
    return networks.loaded(lambda: Unet(config), path, listed)


def pair(config: UnetConfig, folder: Path, sdxl: bool = False) -> tuple[Unet, nn.Module]:
    """Ours, read from the file that diffusers wrote, and theirs."""
    theirs = randomised(peer_networks.unet(config, sdxl))
    theirs.save_pretrained(folder)  # type: ignore[operator]
    listed = list(maps.diffusers(config, "add_embedding" if sdxl else "class_embedding"))
    return loaded(config, folder / "diffusion_pytorch_model.safetensors", listed), theirs


def inputs(config: UnetConfig, height: int, width: int) -> dict[str, Tensor]:
    """A batch of two with whatever the network wants."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(2, *shape, generator=generator)

    given = {"x": draw(4, height, width), "time": torch.tensor([981.0, 3.5]), "tokens": draw(7, config.context_width)}
    if config.in_channels > 4:
        given["image"] = draw(config.in_channels - 4, height, width)
    if config.pooled_width:
        given["pooled"] = draw(config.pooled_width)
    return given


def asked(theirs: nn.Module, given: dict[str, Tensor], sdxl: bool = False) -> Tensor:
    """diffusers' answer to the same."""
    joined = torch.cat([given["x"], given["image"]], 1) if "image" in given else given["x"]
    further: dict[str, Any] = {}
    if sdxl:
        further["added_cond_kwargs"] = {"text_embeds": given["text"], "time_ids": given["sizes"]}
    elif "pooled" in given:
        further["class_labels"] = given["pooled"]
    out: Tensor = theirs(joined, given["time"], given["tokens"], **further).sample
    return out


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return networks.relative_error(ours, theirs, least=0.1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "SDXL"])
def test_a_u_net_read_from_diffusers_file_answers_as_diffusers_does(kind: str, tmp_path: Path) -> None:
    ours, theirs = pair(KINDS[kind], tmp_path)
    given = inputs(KINDS[kind], 8, 12)
    assert relative_error(ours(**given), asked(theirs, given)) <= 1e-5


def test_sdxls_u_net_answers_as_diffusers_does(tmp_path: Path) -> None:
    config = KINDS["SDXL"]
    ours, theirs = pair(config, tmp_path, sdxl=True)
    given = inputs(config, 6, 4)
    text, sizes = torch.randn(2, 16), torch.tensor([[512.0, 768, 0, 16, 1024, 1024], [64, 64, 3, 0, 512, 512]])
    pooled = torch.cat([text, time_features(sizes.flatten(), 8).view(2, -1)], 1)
    expected = asked(theirs, given | {"text": text, "sizes": sizes}, sdxl=True)
    assert relative_error(ours(**(given | {"pooled": pooled})), expected) <= 1e-5


@pytest.mark.parametrize("sides", [(7, 9), (5, 3)])
def test_odd_sides_are_as_diffusers_has_them(sides: tuple[int, int], tmp_path: Path) -> None:
    ours, theirs = pair(TINY, tmp_path)
    given = inputs(TINY, *sides)
    assert relative_error(ours(**given), asked(theirs, given)) <= 1e-5


def test_more_than_512_positions_go_through_torchs_own_kernel_to_the_same_end(tmp_path: Path) -> None:
    ours, theirs = pair(TINY, tmp_path)
    given = inputs(TINY, 24, 28)
    assert relative_error(ours(**given), asked(theirs, given)) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_written_in_ldms_layout_reads_back_to_the_bit(kind: str, tmp_path: Path) -> None:
    config = KINDS[kind]
    before = randomised(Unet(config))
    listed = list(key_map.under("", "model.diffusion_model.", maps.ldm(config)))
    save_file(key_map.write(listed, before.state_dict()), tmp_path / "whole.safetensors")
    after = loaded(config, tmp_path / "whole.safetensors", listed).state_dict()
    assert after.keys() == before.state_dict().keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.state_dict().items())


def test_what_diffusers_wrote_is_written_again_to_the_bit(tmp_path: Path) -> None:
    ours, _ = pair(KINDS["SD 2.1 unclip"], tmp_path)
    stored = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    written = key_map.write(list(maps.diffusers(ours.config)), ours.state_dict())
    assert written.keys() == stored.keys()
    assert all(torch.equal(written[name], weight) for name, weight in stored.items())


@pytest.mark.parametrize("name", LISTINGS)
def test_the_maps_name_every_key_of_the_published_files_with_its_shape(name: str) -> None:
    plain, nine, _ = name.partition("_INPAINT")
    config, listing = getattr(unet, plain), LISTINGS[name]
    config = replace(config, in_channels=9) if nine else config
    with torch.device("meta"):
        net = Unet(config)
    shapes = {key: tuple(weight.shape) for key, weight in net.state_dict().items()}
    assert sum(weight.numel() for weight in net.parameters()) == listing["parameters"]
    ldm, diffusers = list(maps.ldm(config)), list(maps.diffusers(config))
    for listed, column in ((ldm, 0), (diffusers, 1)):
        published = {row[column]: tuple(row[2 + column]) for row in listing["keys"]}
        named = [key for entry in listed for key in entry.theirs]
        assert len(named) == len(set(named))
        assert sorted(entry.ours for entry in listed) == sorted(shapes)
        key_map.check(listed, published)
        written = key_map.write(listed, net.state_dict())
        assert {key: tuple(weight.shape) for key, weight in written.items()} == published
    pairs = {pair for one, two in zip(ldm, diffusers, strict=True) for pair in zip(one.theirs, two.theirs, strict=True)}
    assert pairs == {(row[0], row[1]) for row in listing["keys"]}


@pytest.mark.parametrize(
    ("config", "channels", "parameters"),
    [(SD2, 9, 865_925_124), (SDXL, 4, 2_567_463_684), (SDXL, 9, 2_567_478_084)],
    ids=["SD 2 inpainting", "SDXL", "SDXL inpainting"],
)
def test_networks_without_a_listing_are_those_that_diffusers_builds(
    config: UnetConfig, channels: int, parameters: int
) -> None:
    config, sdxl = replace(config, in_channels=channels), config is SDXL
    with torch.device("meta"):
        net, theirs = Unet(config), peer_networks.unet(config, sdxl)
    assert sum(weight.numel() for weight in net.parameters()) == parameters
    listed = list(maps.diffusers(config, "add_embedding" if sdxl else "class_embedding"))
    written = key_map.write(listed, net.state_dict())
    assert {k: v.shape for k, v in written.items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def test_a_new_u_net_says_nothing() -> None:
    given = inputs(TINY, 8, 8)
    assert torch.equal(Unet(TINY)(**given), torch.zeros_like(given["x"]))


def test_the_answer_of_a_batch_is_that_of_each_alone() -> None:
    net = randomised(Unet(KINDS["SD 2.1 unclip"]))
    given = inputs(KINDS["SD 2.1 unclip"], 8, 8)
    alone = torch.cat([net(**{name: value[k : k + 1] for name, value in given.items()}) for k in range(2)])
    assert relative_error(net(**given), alone) <= 1e-5


def test_the_net_runs_in_bfloat16_with_time_in_float32_and_its_answer_is_not_rounded() -> None:
    net, given = randomised(Unet(TINY)), inputs(TINY, 8, 8)
    expected = net(**given)
    short = {name: value if name == "time" else value.bfloat16() for name, value in given.items()}
    answer = net.bfloat16()(**short)
    assert not torch.equal(answer, answer.bfloat16().float())
    assert relative_error(answer, expected) <= 0.03  # eight bits, a few dozen layers


def test_time_features_have_the_cosine_first() -> None:
    features = time_features(torch.tensor([0.0, 2.0]), 4)
    angles = torch.tensor([2.0, 0.02])
    torch.testing.assert_close(features[1], torch.cat([angles.cos(), angles.sin()]))
    assert features[0].tolist() == [1, 1, 0, 0]


def test_time_features_are_diffusers_to_the_bit() -> None:
    peer = importlib.import_module("diffusers.models.embeddings").get_timestep_embedding
    time = torch.tensor([999, 981, 500.25, 3.5, 0])
    expected = peer(time, 320, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert expected.isfinite().all()
    assert torch.equal(time_features(time, 320), expected)


def test_what_a_network_cannot_use_is_one_clear_error() -> None:
    given, inpaint, unclip = inputs(TINY, 8, 8), KINDS["SD 1 inpainting"], KINDS["SD 2.1 unclip"]
    with pytest.raises(ValueError, match="4 channels: this U-Net takes 9"):
        Unet(inpaint)(**given)
    with pytest.raises(ValueError, match="5 channels: this U-Net takes 4"):
        Unet(TINY)(**given, image=torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="needs a vector `pooled`"):
        Unet(unclip)(**given)
    with pytest.raises(ValueError, match="takes no vector `pooled`"):
        Unet(TINY)(**given, pooled=torch.zeros(2, 20))
    with pytest.raises(ValueError, match="4 multipliers and 2 depths"):
        UnetConfig(depths=(1, 0))
    with pytest.raises(ValueError, match="either heads or head_width"):
        UnetConfig(heads=8, head_width=64)
