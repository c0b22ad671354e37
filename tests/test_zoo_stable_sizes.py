"""The sizes that a folder states: of the published models they are ours, and a small folder loads by its path alone."""

import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from docs.notebooks.tiny_stable import CONFIGS, tiny_stable
from PIL import ImageChops, ImageStat
from tests.loading import stable

import scorefield as sf
from scorefield.core import noise
from scorefield.errors import DamagedError, MissingError, ScorefieldError
from scorefield.families.stable_diffusion.folder_config import stated
from scorefield.families.stable_diffusion.specs import SPECS
from scorefield.nets.clip import SD1_TEXT, SD2_TEXT_23, SDXL_TEXT, SDXL_TEXT_2
from scorefield.nets.kl import KL
from scorefield.nets.unet import SD1, SD2, SDXL
from scorefield.weights.checkpoint import Checkpoint

UNET_1 = {
    "in_channels": 4, "out_channels": 4, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"], "attention_head_dim": 8,
    "cross_attention_dim": 768,
}  # fmt: skip
UNET_2 = UNET_1 | {
    "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": True
}  # fmt: skip
UNET_XL = UNET_2 | {
    "block_out_channels": [320, 640, 1280], "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2],
    "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10], "cross_attention_dim": 2048,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "class_embed_type": None,
    "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
VAE = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4}
TEXT_1 = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "max_position_embeddings": 77, "vocab_size": 49408, "hidden_act": "quick_gelu", "eos_token_id": 2,
}  # fmt: skip
TEXT_2 = TEXT_1 | {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
    "hidden_act": "gelu",
}  # fmt: skip


TEXT_XL = TEXT_1 | {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "hidden_act": "gelu", "projection_dim": 1280,
}  # fmt: skip


def folder(
    path: Path, unet: dict[str, Any], vae: dict[str, Any], text: dict[str, Any], second: dict[str, Any] = TEXT_XL
) -> Path:
    for name, config in (("unet", unet), ("vae", vae), ("text_encoder", text), ("text_encoder_2", second)):
        (path / name).mkdir(parents=True)
        (path / name / "config.json").write_text(json.dumps(config))
    return path


def test_the_published_configurations_are_the_published_networks(tmp_path: Path) -> None:
    one = stated(Checkpoint(folder(tmp_path / "1", UNET_1, VAE, TEXT_1)))
    two = stated(Checkpoint(folder(tmp_path / "2", UNET_2, VAE, TEXT_2)))
    assert (one.unet, one.kl, one.text) == (SD1, KL, SD1_TEXT)
    assert (two.unet, two.kl, two.text) == (SD2, KL, SD2_TEXT_23)
    xl = stated(Checkpoint(folder(tmp_path / "xl", UNET_XL, VAE, TEXT_1)))
    assert (xl.unet, xl.kl, xl.text, xl.text_2, xl.image_clip) == (SDXL, KL, SDXL_TEXT, SDXL_TEXT_2, None)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("unet", "addition_embed_type", "text_image"),
        ("unet", "class_embed_type", "projection"),
        ("unet", "addition_time_embed_dim", 255),
        ("unet", "cross_attention_dim", 2047),
        ("unet", "projection_class_embeddings_input_dim", 2815),
        ("unet", "transformer_layers_per_block", [1, 2]),
        ("unet", "transformer_layers_per_block", [1, [2, 2], 10]),
        ("second", "projection_dim", None),
    ],
)
def test_what_no_xl_has_is_one_line(part: str, name: str, value: object, tmp_path: Path) -> None:
    held: dict[str, dict[str, Any]] = {"unet": UNET_XL, "vae": VAE, "text": TEXT_1, "second": TEXT_XL}
    held[part] = held[part] | {name: value}
    with pytest.raises(ScorefieldError, match=r"config.json: \w+ .* is not valid for a Stable Diffusion$") as caught:
        stated(Checkpoint(folder(tmp_path / "model", **held)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("unet", "block_out_channels", [320, 500]),
        ("unet", "block_out_channels", None),
        ("unet", "layers_per_block", [1, 2, 2, 2]),
        ("unet", "attention_head_dim", [5, 10]),
        ("unet", "attention_head_dim", [5, 5, 20, 20]),
        ("unet", "down_block_types", ["CrossAttnDownBlock2D"]),
        ("unet", "cross_attention_dim", 640),
        ("vae", "latent_channels", "many"),
        ("vae", "layers_per_block", True),
        ("text", "hidden_size", 0),
        ("text", "intermediate_size", 7),
        ("text", "hidden_act", "relu"),
        ("unet", "block_out_channels", [30, 60, 120, 120]),  # 32 groups do not divide them
        ("unet", "attention_head_dim", 7),
        ("text", "num_attention_heads", 7),
        # What would take memory or time before a tensor is looked at:
        ("unet", "block_out_channels", [32 * 10**8] * 4),
        ("unet", "layers_per_block", 10**9),
        ("unet", "layers_per_block", 200),  # 1,600 blocks on the way down
        ("unet", "transformer_layers_per_block", 10**4),
        ("unet", "in_channels", 10**9),
        ("unet", "cross_attention_dim", 10**9),
        ("vae", "layers_per_block", 10**9),
        ("vae", "block_out_channels", [32] * 1000),
        ("text", "num_hidden_layers", 10**9),
        ("text", "vocab_size", 10**9),
        ("text", "max_position_embeddings", 10**9),
    ],
)
def test_what_no_such_network_has_is_one_line(part: str, name: str, value: object, tmp_path: Path) -> None:
    held = {"unet": UNET_1, "vae": VAE, "text": TEXT_1}
    held[part] = held[part] | {name: value}
    named = "layers_per_block" if name == "transformer_layers_per_block" or value == [32] * 1000 else name
    with pytest.raises(
        ScorefieldError, match=rf"config.json: {named} .* is not valid for a Stable Diffusion$"
    ) as caught:
        stated(Checkpoint(folder(tmp_path / "model", **held)))
    assert "\n" not in str(caught.value)


def test_a_part_without_a_configuration_is_one_line(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", UNET_1, VAE, TEXT_1)
    (path / "vae" / "config.json").unlink()
    with pytest.raises(MissingError, match=r"vae/config.json: no such file or folder$"):
        stated(Checkpoint(path))


@pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning")
def test_a_small_folder_draws_by_its_path_and_every_weight_counts(tmp_path: Path) -> None:
    pipe = sf.load(str(tiny_stable(tmp_path / "tiny")), device="cpu")
    assert pipe.stage.spec.prediction is next(iter(SPECS.values()))["eps"].prediction
    picture, other = (pipe(prompt, seed=1, steps=2, size=64).image for prompt in ("a tree", "a dog"))
    assert picture.size == (64, 64)
    assert picture.tobytes() != other.tobytes()
    weights = [*pipe.stage.denoiser.parameters(), *pipe.codec.pictures.autoencoder.parameters()]  # type: ignore[attr-defined]
    assert all(weight.isfinite().all() and weight.std() > 0 for weight in weights if weight.numel() > 1)


@pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning", "ignore:__array:DeprecationWarning")
def test_diffusers_draws_the_same_from_that_folder(tmp_path: Path) -> None:
    path = tiny_stable(tmp_path / "tiny")
    diffusers = importlib.import_module("diffusers")
    peer = diffusers.StableDiffusionPipeline.from_pretrained(path, safety_checker=None, requires_safety_checker=False)
    peer.scheduler = diffusers.EulerDiscreteScheduler.from_config(peer.scheduler.config, timestep_spacing="trailing")
    peer.scheduler.set_timesteps(3)
    started = math.hypot(1, peer.scheduler.sigmas[0]) / peer.scheduler.init_noise_sigma
    theirs = peer(
        "a red fox", height=64, width=64, num_inference_steps=3, guidance_scale=3.0,
        latents=noise.initial([7], (4, 8, 8)) * float(started),
    ).images[0]  # fmt: skip
    ours = sf.load(str(path), device="cpu")(
        "a red fox", size=64, steps=3, guidance=3.0, seed=7, sampler="euler", schedule="trailing"
    ).image
    assert ImageStat.Stat(ours).stddev[0] > 20
    assert max(high for _, high in ImageChops.difference(ours, theirs).getextrema()) <= 1


def test_a_folder_whose_weights_are_not_those_that_it_states_is_one_line(tmp_path: Path) -> None:
    path = tiny_stable(tmp_path / "tiny")
    config = CONFIGS["vae/config.json"] | {"layers_per_block": 2}
    (path / "vae" / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        DamagedError, match=r"the autoencoder: the file's keys are not those of this network: .* missing"
    ):
        stable(path, torch.device("cpu"), torch.float32)
