"""Write a Stable Diffusion of random weights, a folder of 9 MB: it draws noise, and has all the parts.

python docs/notebooks/tiny_stable.py FOLDER
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from scorefield.nets.clip import TextConfig, TextTransformer
from scorefield.nets.kl import Kl, KlConfig
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.weights.key_map import Entry, write
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys

UNET = UnetConfig(channels=32, multipliers=(1, 2), resblocks=1, depths=(1, 0), heads=4, context_width=32)
KL = KlConfig(width=32, multipliers=(1, 1, 1, 1), resblocks=1)
TEXT = TextConfig(width=32, layers=2, heads=4, context_length=77, vocab_size=49408, end_id=49407)

CONFIGS = {
    "model_index.json": {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    },
    "unet/config.json": {
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [32, 64],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 32,
    },
    "vae/config.json": {
        "latent_channels": 4,
        "block_out_channels": [32] * 4,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 1,
        "scaling_factor": 0.18215,
    },
    "text_encoder/config.json": {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
        "hidden_act": "quick_gelu",
    },
    "scheduler/scheduler_config.json": {
        "_class_name": "DDIMScheduler",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": "epsilon",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    },
    "tokenizer/tokenizer_config.json": {"pad_token": "<|endoftext|>", "model_max_length": 77},
}


def tiny_stable(folder: Path) -> Path:
    """Write the model into the folder in the layout of diffusers; returns the folder."""
    for name, held in CONFIGS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(held, indent=2))
    _save(folder / "unet", "diffusion_pytorch_model", Unet(UNET), unet_keys.diffusers(UNET))
    _save(folder / "vae", "diffusion_pytorch_model", Kl(KL), kl_keys.diffusers(KL))
    text = TextTransformer(TEXT, embed_dim=None, activation="quick_gelu")
    _save(folder / "text_encoder", "model", text, clip_keys.transformers_text(TEXT, projected=False))
    model = json.loads(ClipTokenizer.packaged().tokenizer.to_str())["model"]
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "tokenizer" / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    return folder


def _save(folder: Path, name: str, net: nn.Module, entries: Iterable[Entry]) -> None:
    ours = _drawn(net).state_dict()
    theirs = write(list(entries), ours)
    save_file({key: tensor.contiguous().clone() for key, tensor in theirs.items()}, folder / f"{name}.safetensors")


def _drawn(net: nn.Module) -> nn.Module:
    """The network with every weight random, also those that start at 0 or 1."""
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            drawn = torch.randn(weight.shape, generator=source)
            if weight.ndim < 2:
                weight.copy_(0.1 * drawn + float(name.endswith("weight")))
            else:
                weight.copy_(drawn * (0.1 if name in ("tokens.weight", "positions") else weight[0].numel() ** -0.5))
    return net


if __name__ == "__main__":
    tiny_stable(Path(sys.argv[1]))
