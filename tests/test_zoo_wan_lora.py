"""LoRAs for Wan in every layout: they do what they do in diffusers, and where that drops keys, what they say."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UniPCMultistepScheduler, WanPipeline
from safetensors.torch import save_file
from tests import peer_networks, wan_files
from tests.networks import relative_error
from tests.wan_files import DIT, MODEL, TRANSFORMER, Nets
from torch import Tensor

import scorefield as sf
from scorefield.errors import DamagedError, UnsupportedError
from scorefield.nets.video_dit import VideoDit
from scorefield.notes import UnusedKeysWarning
from scorefield.weights.checkpoint import Reader
from scorefield.weights.detect.identify import identify_file
from scorefield.weights.detect.identity import Family, Kind
from scorefield.weights.key_map import write
from scorefield.weights.key_maps import wan_keys

RANK = 3
BLOCK = [f"{kind}_attn.{part}" for kind in ("self", "cross") for part in "qkvo"] + ["ffn.0", "ffn.2"]
BLOCKS = [f"blocks.{n}.{layer}" for n in range(DIT.depth) for layer in BLOCK]
OTHERS = [
    "time_projection.1",
    "text_embedding.0",
    "text_embedding.2",
    "time_embedding.0",
    "time_embedding.2",
    "head.head",
]
DIFFUSERS = {"self_attn.": "attn1.to_", "cross_attn.": "attn2.to_", "ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2"}


@pytest.fixture(scope="module")
def nets() -> Nets:
    return wan_files.nets()


@pytest.fixture(scope="module")
def model(nets: Nets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("comfy")
    wan_files.comfy(root, nets)
    return root / TRANSFORMER / MODEL


def halves(nets: Nets, layers: list[str], down: str, up: str) -> dict[str, Tensor]:
    """Random halves for layers by the original's names."""
    source, held = torch.Generator().manual_seed(0), {}
    for layer in layers:
        outs, ins = nets.dit[f"{layer}.weight"].shape
        held[f"{layer}.{down}.weight"] = torch.randn(RANK, ins, generator=source) * (RANK * ins) ** -0.5
        held[f"{layer}.{up}.weight"] = torch.randn(outs, RANK, generator=source)
    return held


def alphas(layers: list[str]) -> dict[str, Tensor]:
    return {f"{layer}.alpha": torch.tensor(2.0) for layer in layers}


def biases(nets: Nets, layers: list[str]) -> dict[str, Tensor]:
    return {f"{layer}.diff_b": 0.1 * torch.ones_like(nets.dit[f"{layer}.bias"]).float() for layer in layers}


def musubi(nets: Nets) -> dict[str, Tensor]:
    """As kohya's trainers write them."""
    held = halves(nets, BLOCKS, "lora_down", "lora_up") | alphas(BLOCKS)
    split = (key.partition(".lora_") if ".lora_" in key else key.partition(".alpha") for key in held)
    names = (f"lora_unet_{layer.replace('.', '_')}{dot}{rest}" for layer, dot, rest in split)
    return dict(zip(names, held.values(), strict=True))


def comfy(nets: Nets) -> dict[str, Tensor]:
    return under("diffusion_model.", halves(nets, BLOCKS, "lora_A", "lora_B"))


def lightx2v(nets: Nets) -> dict[str, Tensor]:
    """As the distilled ones: biases, too, and layers outside the blocks."""
    all_of_them = [*BLOCKS, *OTHERS]
    held = halves(nets, all_of_them, "lora_down", "lora_up")
    return under("diffusion_model.", held | alphas(BLOCKS) | biases(nets, all_of_them))


def in_diffusers(nets: Nets) -> dict[str, Tensor]:
    held = {}
    for key, one in halves(nets, BLOCKS, "lora_A", "lora_B").items():
        new = key
        for old, named in DIFFUSERS.items():
            new = new.replace(old, named)
        held[new.replace("to_o.", "to_out.0.")] = one
    return under("transformer.", held)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: one for key, one in tensors.items()}


def saved(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    save_file({key: one.contiguous().clone() for key, one in tensors.items()}, path)
    return path


def weights(model: Path, *loras: Any) -> dict[str, Tensor]:
    """The weights of the model with LoRAs, by the original's names."""
    (stage,) = sf.load(model, device="cpu", loras=loras).system.stages
    return write([*wan_keys.original(DIT)], stage.denoiser.net.state_dict())


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.randn(1, 16, 2, 4, 4, generator=source), torch.tensor([700.0]), torch.randn(
        1, 512, DIT.text_width, generator=source
    )  # fmt: skip


@pytest.mark.parametrize("layout", [musubi, comfy, lightx2v, in_diffusers])
def test_a_lora_does_what_it_does_in_diffusers(layout: Any, nets: Nets, model: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "lora.safetensors", layout(nets))
    peer = peer_networks.video_dit(dataclasses.replace(DIT, like="diffusers"))
    peer.load_state_dict({key: one.float() for key, one in nets.dit_diffusers.items()})
    x, time, tokens = inputs()
    with torch.no_grad():
        before = peer(x, time, tokens, return_dict=False)[0]
        pipeline = WanPipeline(
            tokenizer=None, text_encoder=None, vae=None, transformer=peer, scheduler=UniPCMultistepScheduler()
        )
        pipeline.load_lora_weights(path)
        theirs = peer(x, time, tokens, return_dict=False)[0]
        (stage,) = sf.load(model, device="cpu", loras=[path]).system.stages
        net = VideoDit(dataclasses.replace(DIT, like="diffusers"))
        net.load_state_dict(stage.denoiser.net.state_dict())
        ours = net(x, time, tokens)
    assert (theirs - before).norm() > 0.01 * before.norm()  # it changes something
    assert relative_error(ours, theirs, least=1e-2) <= 1e-5


def test_the_other_names_of_a_layer_mean_the_same(nets: Nets, model: Path, tmp_path: Path) -> None:
    wanted = weights(model, saved(tmp_path / "a.safetensors", comfy(nets)))
    bare = {key.removeprefix("diffusion_model."): one for key, one in comfy(nets).items()}
    for tensors in (
        bare,
        {key.replace(".weight", ".default.weight"): one for key, one in bare.items()},  # DiffSynth's
        in_diffusers(nets),
        under("base_model.model.", bare),
    ):
        made = weights(model, saved(tmp_path / "b.safetensors", tensors))
        assert all(torch.equal(made[key], one) for key, one in wanted.items())


def test_whole_deltas_change_weights_biases_norms_and_modulation(nets: Nets, model: Path, tmp_path: Path) -> None:
    """diffusers drops those of norms and of the patch embedding; ComfyUI adds them all."""
    layers = {
        "blocks.0.self_attn.norm_q.diff": "blocks.0.self_attn.norm_q.weight",
        "blocks.1.norm3.diff": "blocks.1.norm3.weight", "blocks.1.norm3.diff_b": "blocks.1.norm3.bias",
        "blocks.1.cross_attn.k.diff_b": "blocks.1.cross_attn.k.bias", "blocks.0.diff_m": "blocks.0.modulation",
        "head.diff_m": "head.modulation", "patch_embedding.diff": "patch_embedding.weight",
        "head.head.diff": "head.head.weight",
    }  # fmt: skip
    source = torch.Generator().manual_seed(0)
    deltas = {key: torch.randn(nets.dit[name].shape, generator=source) for key, name in layers.items()}
    made = weights(model, (saved(tmp_path / "a.safetensors", under("diffusion_model.", deltas | some(nets))), 0.5))
    for key, name in layers.items():
        assert torch.allclose(made[name], nets.dit[name].float() + 0.5 * deltas[key], rtol=0, atol=1e-6), name
    unchanged = nets.dit.keys() - {*layers.values(), "blocks.0.ffn.0.weight"}
    assert all(torch.equal(made[name].view(-1), nets.dit[name].float().view(-1)) for name in unchanged)


def some(nets: Nets) -> dict[str, Tensor]:
    return halves(nets, ["blocks.0.ffn.0"], "lora_down", "lora_up")


def test_a_lora_named_for_one_expert_changes_that_one(nets: Nets, tmp_path: Path) -> None:
    root = tmp_path / "comfy"
    old = wan_files.comfy(root, nets)
    high = old.rename(old.with_name("wan2.2_t2v_high_noise.safetensors"))
    wan_files.save(old.with_name("wan2.2_t2v_low_noise.safetensors"), nets.dit)
    for name, changed in (("x_HIGH.safetensors", (True, False)), ("x_low_noise.safetensors", (False, True)),
                          ("x.safetensors", (True, True))):  # fmt: skip
        (stage,) = sf.load(high, device="cpu", loras=[saved(tmp_path / name, comfy(nets))]).system.stages
        nets_ = stage.denoiser.net
        first = [one.blocks[0].self_attention.out.weight for one in (nets_.high, nets_.low)]
        assert tuple(not torch.equal(one, nets.dit["blocks.0.self_attn.o.weight"].float()) for one in first) == changed


def test_a_lora_that_does_not_fit_is_one_line(nets: Nets, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    wide = {"diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.ones(2, 5120),
            "diffusion_model.blocks.0.self_attn.q.lora_B.weight": torch.ones(5120, 2)}  # fmt: skip
    with pytest.raises(UnsupportedError, match="is a LoRA for Wan 14B; this model is a Wan"):
        weights(model, saved(path, wide))
    odd = {"diffusion_model.blocks.0.ffn.0.lora_A.weight": torch.ones(2, 256),
           "diffusion_model.blocks.0.ffn.0.lora_B.weight": torch.ones(50, 2)}  # fmt: skip
    with pytest.raises(
        UnsupportedError, match=r"is for a weight of shape \(50, 256\), where this model has \(48, 256\)"
    ):
        weights(model, saved(path, odd))
    with pytest.raises(UnsupportedError, match=r"blocks.0.modulation is for a weight of shape \(3,\)"):
        weights(model, saved(path, {**comfy(nets), "diffusion_model.blocks.0.diff_m": torch.ones(3)}))
    both = {**comfy(nets), "diffusion_model.blocks.0.ffn.0.diff": torch.ones(48, 256)}
    with pytest.raises(DamagedError, match="has both a whole delta and down, up"):
        weights(model, saved(path, both))
    with pytest.raises(UnsupportedError, match="the model scenes takes no LoRA: they are for"):
        sf.load("scenes", loras=[saved(path, comfy(nets))])


def test_keys_for_the_picture_of_a_wan_that_reads_one_are_told(nets: Nets, model: Path, tmp_path: Path) -> None:
    more = {"diffusion_model.blocks.0.cross_attn.k_img.lora_A.weight": torch.ones(2, 256),
            "diffusion_model.blocks.0.cross_attn.k_img.lora_B.weight": torch.ones(256, 2)}  # fmt: skip
    with pytest.warns(UnusedKeysWarning, match="2 keys fit no layer of this model"):
        weights(model, saved(tmp_path / "a.safetensors", comfy(nets) | more))


@pytest.mark.parametrize("layout", [musubi, comfy, lightx2v, in_diffusers])
@pytest.mark.parametrize(("width", "family"), [(1536, Family.WAN_1_3B), (5120, Family.WAN_14B), (256, Family.WAN)])
def test_a_file_says_which_wan_it_is_for(layout: Any, width: int, family: Family, nets: Nets, tmp_path: Path) -> None:
    tensors = {
        key: torch.zeros(RANK, width, dtype=torch.float16) if one.shape == (RANK, 256) else one
        for key, one in layout(nets).items()
    }
    found = identify_file(Reader(saved(tmp_path / "a.safetensors", tensors)).index)
    assert (found.kind, found.family, [*found.parts]) == (Kind.LORA, family, ["transformer"])
