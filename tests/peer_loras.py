"""LoRAs for networks of diffusers and transformers: as kohya's trainer writes them, and as PEFT trains them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

RANK = 3
TEXT_LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
UNET_LAYERS = [
    *("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    *("conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv_in", "conv_out", "linear_1", "linear_2", "conv"),
]


def layers(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every linear layer and convolution of a network, by the name that it has there."""
    return ((name, one) for name, one in net.named_modules() if isinstance(one, nn.Linear | nn.Conv2d))


def kohya(named: Iterable[tuple[str, nn.Module]], seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a LoRA for layers by the names that kohya's trainer gives them."""
    source, held = torch.Generator().manual_seed(seed), {}
    for key, layer in named:
        outs, ins, *kernel = layer.weight.shape
        spread = (RANK * layer.weight[0].numel()) ** -0.5
        held[f"{key}.lora_down.weight"] = torch.randn(RANK, ins, *kernel, generator=source) * spread
        held[f"{key}.lora_up.weight"] = torch.randn(outs, RANK, *(1 for _ in kernel), generator=source)
        held[f"{key}.alpha"] = torch.tensor(4.0)  # one for all: of several, diffusers 0.42 loses those of attention
    return held


def unet_names(net: nn.Module, named: Callable[[str], str] = str) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a U-Net by kohya's names, out of diffusers' names or what `named` makes of these."""
    return ((f"lora_unet_{named(name).replace('.', '_')}", layer) for name, layer in layers(net))


def text_names(net: nn.Module, prefix: str = "lora_te_") -> Iterator[tuple[str, nn.Module]]:
    """The layers of a text encoder's blocks by kohya's names."""
    for name, layer in layers(net):
        if "text_projection" not in name:
            yield f"{prefix}text_model_{name.removeprefix('text_model.').replace('.', '_')}", layer


def written(path: Path, *named: Iterable[tuple[str, nn.Module]], seed: int = 0) -> Path:
    """One LoRA for all of these layers, in a file."""
    save_file(kohya((one for each in named for one in each), seed), path)
    return path


def trained(pipeline: Any, folder: Path, encoders: Mapping[str, nn.Module], **settings: object) -> Path:
    """What PEFT adds to the U-Net and text encoders of a pipeline, with random numbers, saved by diffusers."""
    source, nets = torch.Generator().manual_seed(2), {"unet": pipeline.unet, **encoders}
    for part, net in nets.items():
        names = UNET_LAYERS if part == "unet" else TEXT_LAYERS
        net.add_adapter(LoraConfig(r=RANK, lora_alpha=5, target_modules=names, **settings))  # type: ignore[operator]
        for name, weight in net.named_parameters():
            if "lora_magnitude_vector" in name:
                weight.data *= 1 + 0.3 * torch.rand(weight.shape, generator=source)
            elif "lora_" in name:
                weight.data = torch.randn(weight.shape, generator=source) * 0.5 * weight[0].numel() ** -0.5
    type(pipeline).save_lora_weights(
        folder,
        **{f"{part}_lora_layers": get_peft_model_state_dict(net) for part, net in nets.items()},
        **_collate_lora_metadata(nets),
    )
    return folder / "pytorch_lora_weights.safetensors"
