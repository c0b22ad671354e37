"""The child process for our U-Net: `python -m scorefield.bench.ours SETTING FOLDER`."""

from pathlib import Path

import torch

from scorefield.bench.child import Peak, Step, prepared, serve
from scorefield.bench.task import UNETS, Setting
from scorefield.families.fill import Filling
from scorefield.model.system import Place
from scorefield.nets.packed import numbered, pack, unpack
from scorefield.nets.unet import Unet
from scorefield.nets.unet_blocks import CrossAttention, SelfAttention
from scorefield.weights.checkpoint import Reader
from scorefield.weights.key_maps import unet_keys as maps


def load(setting: Setting, folder: Path) -> tuple[Step, Peak]:
    """Load our network from the folder's weights."""
    config, source = UNETS[setting.model], Reader(folder)
    fill = Filling(Place(device=torch.device(setting.device), dtype=setting.torch_dtype))
    net = fill(lambda: Unet(config), "U-Net", list(maps.diffusers(config)), source, source.tensors)
    numbered(net)

    def peak(factor: float) -> None:
        unpack(net)
        for module in net.modules():
            if isinstance(module, SelfAttention):
                module.qkv.weight[: module.qkv.in_features].mul_(factor)
            elif isinstance(module, CrossAttention):
                module.q.weight.mul_(factor)
        pack(net)

    return prepared(net, setting), peak


if __name__ == "__main__":
    serve(lambda: load)
