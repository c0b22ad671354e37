"""Small LoRA files, and four weights of a model that they are for."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scorefield.errors import ScorefieldError
from scorefield.weights.key_map import Entry, Form
from scorefield.weights.lora.file import LoraFile
from scorefield.weights.lora.lora_keys import UNET
from scorefield.weights.lora.merge import Scales, Stack, names

RANK = 2
LISTED = [
    Entry("mlp.weight", ("ff.weight",)),
    Entry("qkv.weight", ("attn.to_q.weight", "attn.to_k.weight", "attn.to_v.weight")),
    Entry("conv.weight", ("conv1.weight",)),
    Entry("project.weight", ("proj_in.weight",), Form.CONVOLUTION),
    Entry("mlp.bias", ("ff.bias",)),
]
NAMES = dict(names(UNET, LISTED))
SHAPES = {"mlp.weight": (6, 4), "qkv.weight": (15, 4), "conv.weight": (5, 4, 3, 3), "project.weight": (4, 4)}
Q, K, CONV, PROJECT, MLP = "attn_to_q", "attn_to_k", "conv1", "proj_in", "ff"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


WEIGHTS = {name: drawn(*shape, seed=seed) for seed, (name, shape) in enumerate(SHAPES.items())}


def kohya(layer: str, down: Tensor, up: Tensor, alpha: float | None = None) -> dict[str, Tensor]:
    told = {} if alpha is None else {f"lora_unet_{layer}.alpha": torch.tensor(alpha)}
    return {f"lora_unet_{layer}.lora_down.weight": down, f"lora_unet_{layer}.lora_up.weight": up} | told


def pair(outs: int, ins: int, *kernel: int, seed: int = 0, rank: int = RANK) -> tuple[Tensor, Tensor]:
    """The two halves of a layer: of a convolution where there is a kernel."""
    return drawn(rank, ins, *kernel, seed=seed), drawn(outs, rank, *(1 for _ in kernel), seed=seed + 100)


def save(path: Path, *tensors: Mapping[str, Tensor]) -> None:
    save_file({key: one.contiguous().clone() for each in tensors for key, one in each.items()}, path)


def merged(path: Path, *tensors: Mapping[str, Tensor], scale: float = 1.0) -> dict[str, Tensor]:
    """Every weight with the LoRA that a file of `tensors` is."""
    save(path, *tensors)
    return applied(path, scale)


def applied(path: Path, scale: float = 1.0) -> dict[str, Tensor]:
    stack = Stack(NAMES, [(LoraFile(path), Scales(scale, 0))])
    return {name: stack.merged(UNET, name, weight) for name, weight in WEIGHTS.items()}


def check(found: Mapping[str, Tensor], **expected: Tensor) -> None:
    """The weights of those names are so, and all others are the very tensors that they were."""
    for name, weight in found.items():
        if (wanted := expected.get(name.removesuffix(".weight"))) is None:
            assert weight is WEIGHTS[name], name
        else:
            assert weight.isfinite().all()
            assert (weight - WEIGHTS[name]).norm() > 0.1
            torch.testing.assert_close(weight, wanted, rtol=1e-5, atol=1e-5)


LAYOUTS: dict[str, Callable[[str, str], str]] = {
    "kohya": lambda dotted, half: f"lora_unet_{dotted.replace('.', '_')}.lora_{half}.weight",
    "kohya with dots": lambda dotted, half: f"unet.{dotted}.lora_{half}.weight",
    "PEFT in diffusers": lambda dotted, half: f"unet.{dotted}.lora_{'A' if half == 'down' else 'B'}.weight",
    "PEFT": lambda dotted, half: f"base_model.model.{dotted}.lora_{'A' if half == 'down' else 'B'}.weight",
    "PEFT, named": lambda dotted, half: f"unet.{dotted}.lora_{'A' if half == 'down' else 'B'}.default_0.weight",
    "diffusers": lambda dotted, half: f"unet.{dotted}.lora.{half}.weight",
    "diffusers, linear": lambda dotted, half: f"unet.{dotted}.lora_linear_layer.{half}.weight",
    "processors": lambda dotted, half: f"unet.{dotted.replace('.to_', '.processor.to_')}_lora.{half}.weight",
    "processors, bare": lambda dotted, half: f"{dotted.replace('.to_', '.processor.to_')}_lora.{half}.weight",
    "ComfyUI": lambda dotted, half: f"diffusion_model.{dotted}.lora_{half}.weight",
}


DOWN, UP = pair(6, 4)
MAGNITUDE = {f"lora_unet_{MLP}.dora_scale": torch.ones(5, 1)}


def peft(folder: Path, **config: object) -> Path:
    """PEFT's folder of the middle of attention, with its own file of settings."""
    folder.mkdir()
    down, up = pair(5, 4)
    held = {"base_model.model.attn.to_k.lora_A.weight": down, "base_model.model.attn.to_k.lora_B.weight": up}
    save_file(held, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def told(path: Path) -> str:
    """The line that says what is wrong with a file."""
    with pytest.raises(ScorefieldError) as caught:
        applied(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)
