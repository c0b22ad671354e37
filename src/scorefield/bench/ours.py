"""Our U-Net in a process of its own: `python -m scorefield.bench.ours SETTING FOLDER`."""

from pathlib import Path

import torch
from torch import Tensor

from scorefield.bench.child import Step, serve
from scorefield.bench.task import UNETS, Setting
from scorefield.nets.unet import Unet
from scorefield.nets.unet_blocks import CrossAttention, SelfAttention
from scorefield.weights.maps import unet as maps
from scorefield.weights.source import Source
from scorefield.zoo.filling import Filling


def load(setting: Setting, folder: Path) -> tuple[Step, list[Tensor]]:
    """Our network out of the file."""
    config, source = UNETS[setting.model], Source(folder)
    fill = Filling(torch.device(setting.device), setting.torch_dtype)
    net = fill(lambda: Unet(config), "U-Net", list(maps.diffusers(config)), source, source.tensors)
    return net, [weight for module in net.modules() for weight in _queries(module)]


def _queries(module: torch.nn.Module) -> list[Tensor]:
    if isinstance(module, SelfAttention):
        return [module.qkv.weight[: module.qkv.in_features]]
    return [module.q.weight] if isinstance(module, CrossAttention) else []


if __name__ == "__main__":
    serve(lambda: load)
