"""A tiny Wan in the files that people have: the original folder, diffusers', and ComfyUI's separate files."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from safetensors.torch import save_file
from tests.pipelines import randomised
from tests.test_prompt_umt5 import CORPUS
from torch import Tensor, nn

from scorefield.api import Pipeline
from scorefield.nets.causal_vae import CausalVae, CausalVaeConfig
from scorefield.nets.umt5 import Umt5Config, Umt5Encoder
from scorefield.nets.video_dit import VideoDit, VideoDitConfig
from scorefield.weights.key_map import write
from scorefield.weights.key_maps import umt5_keys, wan_keys, wan_vae_keys

DIT = VideoDitConfig(width=256, mlp_width=48, depth=2, heads=2)
VAE = CausalVaeConfig(width=4, decoder_width=4, resblocks=1)
TEXT = Umt5Config(vocab_size=128, width=4096, layers=2, heads=2, head_width=8, mlp_width=16)
SIZE: dict[str, Any] = {"size": 32, "frames": 5, "steps": 2, "seed": 5, "shift": 5.0}
PROMPT = "a cat runs in the park"
MODEL, VAE_FILE, TEXT_FILE = "wan2.1_t2v_1.3B_fp16.safetensors", "wan_2.1_vae.safetensors", "umt5_xxl_fp16.safetensors"
TRANSFORMER, ENCODER = "models/diffusion_models", "models/text_encoders"  # ComfyUI's folders

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Nets:
    """The networks, whose numbers are those of float16."""

    dit: Tensors
    dit_diffusers: Tensors
    vae: Tensors
    text: Tensors  # as transformers
    text_wan: Tensors
    spiece: bytes


def nets() -> Nets:
    dit, vae, text = (randomised(one) for one in (VideoDit(DIT), CausalVae(VAE), Umt5Encoder(TEXT)))
    return Nets(
        dit=_half(dit, wan_keys.original(DIT)),
        dit_diffusers=_half(dit, wan_keys.diffusers(DIT)),
        vae=_half(vae, wan_vae_keys.original(VAE)),
        text=_half(text, umt5_keys.transformers(TEXT)),
        text_wan=_half(text, umt5_keys.wan(TEXT)),
        spiece=spiece(),
    )


def _half(net: nn.Module, entries: Any) -> Tensors:
    return {key: one.half().clone() for key, one in write(list(entries), net.state_dict()).items()}


def spiece() -> bytes:
    """A sentencepiece model of a few words, with T5's special tokens."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20), model_writer=written, vocab_size=90, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="identity",
    )  # fmt: skip
    return written.getvalue()


def with_spiece(nets: Nets) -> Tensors:
    return {**nets.text, "spiece_model": torch.frombuffer(bytearray(nets.spiece), dtype=torch.uint8)}


def save(path: Path, tensors: Tensors, prefix: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({prefix + key: one.contiguous().clone() for key, one in tensors.items()}, path)
    return path


def comfy(root: Path, nets: Nets, prefix: str = "") -> Path:
    """ComfyUI's folders; returns the transformer's file."""
    save(root / "models/vae" / VAE_FILE, nets.vae)
    save(root / ENCODER / TEXT_FILE, with_spiece(nets))
    return save(root / TRANSFORMER / MODEL, nets.dit, prefix)


def original(to: Path, nets: Nets) -> Path:
    """The original folder, whose .pth files are pickles."""
    to.mkdir(parents=True, exist_ok=True)
    save(to / "diffusion_pytorch_model.safetensors", nets.dit)
    torch.save(dict(nets.vae), to / "Wan2.1_VAE.pth")
    torch.save(dict(nets.text_wan), to / "models_t5_umt5-xxl-enc-bf16.pth")
    (to / "google" / "umt5-xxl").mkdir(parents=True)
    (to / "google" / "umt5-xxl" / "spiece.model").write_bytes(nets.spiece)
    config = {"_class_name": "WanModel", "model_type": "t2v", "dim": 256, "ffn_dim": 48, "num_heads": 2,
              "num_layers": 2, "in_dim": 16, "out_dim": 16, "text_len": 512, "freq_dim": 256}  # fmt: skip
    (to / "config.json").write_text(json.dumps(config))
    return to


def eight_bits(tensors: Tensors, scale_name: str) -> tuple[Tensors, Tensors]:
    """The linear layers as float8 with a scale each, and the same numbers as float32, with names for the scales."""
    stored, exact = dict(tensors), {key: one.float() for key, one in tensors.items()}
    for key, one in tensors.items():
        if key.endswith(".weight") and one.ndim == 2 and ("attn" in key or "ffn" in key or "Dense" in key):
            scale = one.float().abs().max() / 448
            stored[key] = (one.float() / scale).to(torch.float8_e4m3fn)
            stored[key.removesuffix("weight") + scale_name] = scale
            exact[key] = stored[key].float() * scale
    return stored, exact


def film(pipe: Pipeline, **options: Any) -> np.ndarray:
    (made,) = pipe(PROMPT, **(SIZE | options)).films
    return np.stack([np.asarray(frame) for frame in made.frames]).astype(int)
