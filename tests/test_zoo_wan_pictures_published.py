"""Wan 2.1 from pictures at its published sizes: every key of a folder without memory, and two blocks at full width."""

import json
import lzma
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import networks, peer_networks, published
from tests.test_nets_video_dit import LISTINGS, randomised
from tests.test_prompt_umt5 import folder as tokenizer_folder  # noqa: F401 - a fixture
from torch import Tensor

from scorefield.families.fill import hollow
from scorefield.nets import video_dit
from scorefield.nets.causal_vae import WAN_VAE, CausalVae
from scorefield.nets.umt5 import UMT5_XXL, Umt5Encoder
from scorefield.nets.video_dit import VideoDit
from scorefield.prompt.film_pictures import FilmPicturesConditioner
from scorefield.request import ModelChoice
from scorefield.stages.diffusion import only_stage
from scorefield.weights.key_map import write
from scorefield.weights.key_maps import umt5_keys, wan_keys, wan_vae_keys
from scorefield.zoo.opened_model import OpenedModel

CLIP = json.loads(lzma.decompress((Path(__file__).parent / "data" / "clip_keys.json.xz").read_bytes()))["layouts"]
TRANSFORMER = {
    "_class_name": "WanTransformer3DModel", "added_kv_proj_dim": 5120, "attention_head_dim": 128,
    "cross_attn_norm": True, "eps": 1e-06, "ffn_dim": 13824, "freq_dim": 256, "image_dim": 1280, "in_channels": 36,
    "num_attention_heads": 40, "num_layers": 40, "out_channels": 16, "patch_size": [1, 2, 2], "pos_embed_seq_len": None,
    "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 1024, "text_dim": 4096,
}  # fmt: skip
VAE = {
    "_class_name": "AutoencoderKLWan", "attn_scales": [], "base_dim": 96, "dim_mult": [1, 2, 4, 4], "dropout": 0.0,
    "latents_mean": [0.0] * 16, "latents_std": [1.0] * 16, "num_res_blocks": 2,
    "temperal_downsample": [False, True, True], "z_dim": 16,
}  # fmt: skip
TEXT = {
    "d_ff": 10240, "d_kv": 64, "d_model": 4096, "feed_forward_proj": "gated-gelu", "layer_norm_epsilon": 1e-06,
    "num_heads": 64, "num_layers": 24, "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32,
    "vocab_size": 256384,
}  # fmt: skip
IMAGE = {
    "hidden_act": "gelu", "hidden_size": 1280, "image_size": 224, "intermediate_size": 5120, "layer_norm_eps": 1e-05,
    "num_attention_heads": 16, "num_channels": 3, "num_hidden_layers": 32, "patch_size": 14, "projection_dim": 1024,
}  # fmt: skip
PROCESSOR = {
    "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True,
    "do_rescale": True, "do_resize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}  # fmt: skip
SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler", "flow_shift": 3.0, "num_train_timesteps": 1000,
    "prediction_type": "flow_prediction", "use_flow_sigmas": True,
}  # fmt: skip
PARTS = {
    "image_encoder": "CLIPVisionModel", "image_processor": "CLIPImageProcessor", "scheduler": "UniPCMultistepScheduler",
    "text_encoder": "UMT5EncoderModel", "tokenizer": "T5TokenizerFast", "transformer": "WanTransformer3DModel",
    "vae": "AutoencoderKLWan",
}  # fmt: skip


def shapes(build: Any, entries: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a published layout of a network whose map has a test of its own."""
    with hollow():
        net = build()
    return {name: tuple(tensor.shape) for name, tensor in write(entries, net.state_dict()).items()}


@pytest.mark.parametrize(
    ("name", "positions", "shift", "known", "sides"),
    [
        ("Wan2.1-I2V-14B-480P-Diffusers", None, 3.0, "wan-2.1-i2v-14b-480p", (832, 480)),
        ("Wan2.1-I2V-14B-720P-Diffusers", None, 3.0, "wan-2.1-i2v-14b-720p", (1280, 720)),
        ("Wan2.1-FLF2V-14B-720P-diffusers", 514, 16.0, "wan-2.1-flf2v-14b-720p", (1280, 720)),
    ],
)
def test_every_key_of_a_published_folder_is_accounted_for(
    name: str,
    positions: int | None,
    shift: float,
    known: str,
    sides: tuple[int, int],
    tokenizer_folder: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Of zeros that take no room on the disk, in no memory; transformer and CLIP by listings of what was published."""
    folder = tmp_path / name
    weights = "diffusion_pytorch_model.safetensors"
    transformer = {row[1]: tuple(row[3]) for row in LISTINGS["WAN_I2V_14B"]["keys"]}
    transformer |= {f"blocks.{index}.attn2.norm_added_q.weight": (5120,) for index in range(40)}
    if positions:
        transformer["condition_embedder.image_embedder.pos_embed"] = (1, positions, 1280)
    published.sparse(folder / "transformer" / weights, transformer)
    vae = shapes(lambda: CausalVae(WAN_VAE), [*wan_vae_keys.diffusers(WAN_VAE)])
    published.sparse(folder / "vae" / weights, vae)
    text = shapes(lambda: Umt5Encoder(UMT5_XXL), [*umt5_keys.transformers(UMT5_XXL)])
    published.sparse(folder / "text_encoder" / "model.safetensors", text)
    published.sparse(folder / "image_encoder" / "model.safetensors", CLIP["hf/unCLIP image"]["keys"])
    shutil.copytree(tokenizer_folder, folder / "tokenizer")
    index = {part: ["library", kind] for part, kind in PARTS.items()}
    for path, settings in {
        "model_index.json": {"_class_name": "WanImageToVideoPipeline", **index},
        "transformer/config.json": TRANSFORMER | {"pos_embed_seq_len": positions},
        "vae/config.json": VAE,
        "text_encoder/config.json": TEXT,
        "image_encoder/config.json": IMAGE,
        "image_processor/preprocessor_config.json": PROCESSOR,
        "scheduler/scheduler_config.json": SCHEDULER | {"flow_shift": shift},
    }.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(settings))
    system = OpenedModel(ModelChoice(model=str(folder), device="cpu")).trial
    stage = only_stage(system.stages)
    assert isinstance(stage.conditioner, FilmPicturesConditioner)
    spec, defaults = stage.spec, stage.spec.defaults
    assert (spec.name, defaults.width, defaults.height, defaults.shift) == (known, *sides, shift)
    assert spec.given_frames is not None
    assert (spec.given_frames.last, spec.given_frames.encoder_side) == (positions is not None, 224)


def full_width_inputs(positions: int | None) -> dict[str, Tensor]:
    """A film of 5 frames of 64 x 64 pixels."""
    generator = torch.Generator().manual_seed(1)
    sizes = {"x": (1, 16, 2, 8, 8), "image": (1, 20, 2, 8, 8), "tokens": (1, 512, 4096)}
    sizes["image_tokens"] = (1, positions or 257, 1280)
    return {name: torch.randn(size, generator=generator) for name, size in sizes.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["WAN_I2V_14B", "WAN_FLF2V_14B"])
@torch.no_grad()
def test_two_blocks_of_full_width_answer_as_diffusers_do(name: str, tmp_path: Path) -> None:
    """A billion numbers in float32, 4 GB, read from the file that diffusers wrote; one network in memory at a time."""
    config = replace(getattr(video_dit, name), depth=2, like="diffusers")
    given, time = full_width_inputs(config.image_positions), torch.tensor([981.0])
    theirs = randomised(peer_networks.video_dit(config))
    theirs.save_pretrained(tmp_path, max_shard_size="50GB")  # type: ignore[operator]
    joined = torch.cat([given["x"], given["image"]], 1)
    pictures = given["image_tokens"].reshape(2 if config.image_positions else 1, 257, 1280)
    wanted = theirs(joined, time, given["tokens"], encoder_hidden_states_image=pictures).sample
    del theirs
    file, entries = tmp_path / "diffusion_pytorch_model.safetensors", list(wan_keys.diffusers(config))
    ours = networks.loaded(lambda: VideoDit(config), file, entries)
    file.unlink()
    error = networks.relative_error(ours(time=time, **given), wanted, least=0.1)
    assert error <= 1e-5, error
