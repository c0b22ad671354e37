"""The task for both programs: one guided step of a U-Net of published size with random weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scorefield.nets.unet import SD1, SD2, Unet, UnetConfig
from scorefield.weights import key_map
from scorefield.weights.key_maps import unet_keys as maps

UNETS: Mapping[str, UnetConfig] = {
    "sd15": SD1,
    "sd21": SD2,
    # To try the command.
    "tiny": UnetConfig(channels=32, multipliers=(1, 2, 2), depths=(1, 1, 0), heads=4, context_width=24),
}
WEIGHTS = "diffusion_pytorch_model.safetensors"
TOKENS = 77
HALF = {"cpu": "bfloat16", "cuda": "float16"}  # the usual choice on each device
MODES = {"cpu": "default", "cuda": "max-autotune"}  # of torch.compile, for inputs of fixed size
PEAK = 4.0  # factor on the queries, and so on the scores, for peaked attention


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The network, its input and how a program runs it."""

    dtype: str = "float32"
    channels_last: bool = False
    compiled: bool = False
    mode: str = "default"  # of torch.compile
    model: str
    size: int  # pixels along a side
    device: str = "cpu"

    @classmethod
    def read(cls, text: str) -> "Setting":
        """Parse the result of `text`."""
        return cls(**json.loads(text))

    def text(self) -> str:
        """The setting as one line of JSON."""
        return json.dumps(asdict(self))

    @property
    def torch_dtype(self) -> torch.dtype:
        """The torch dtype."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


def inputs(setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """x (2, 4, size / 8, size / 8), time (2,) and tokens (2, 77, width) for a step with guidance: batch 2."""
    config, generator = UNETS[setting.model], torch.Generator().manual_seed(1)
    x = torch.randn(1, config.in_channels, setting.size // 8, setting.size // 8, generator=generator).repeat(2, 1, 1, 1)
    tokens = torch.randn(2, TOKENS, config.context_width, generator=generator)
    device, dtype = torch.device(setting.device), setting.torch_dtype
    return x.to(device, dtype), torch.tensor([500.0, 500.0], device=device), tokens.to(device, dtype)


def write_weights(model: str, folder: Path) -> None:
    """Write random weights in diffusers' layout, in bfloat16, so that neither float32 nor bfloat16 rounds them.

    Every weight is random, including those that are usually initialised to 0 or 1.
    """
    config, generator = UNETS[model], torch.Generator().manual_seed(0)
    with torch.device("meta"):
        empty = Unet(config)
    weights = {name: _drawn(name, weight.shape, generator) for name, weight in empty.named_parameters()}
    save_file(key_map.write(list(maps.diffusers(config)), weights), folder / WEIGHTS)


def _drawn(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    drawn = torch.empty(shape, dtype=torch.bfloat16).normal_(generator=generator)
    if len(shape) > 1:
        return drawn.mul_(shape[1:].numel() ** -0.5)
    return drawn.mul_(0.1).add_(1) if "norm" in name and name.endswith("weight") else drawn.mul_(0.05)


def flop(setting: Setting) -> int:
    """The floating-point operations of a step: matrix products, convolutions and attention."""
    with torch.device("meta"):
        net = Unet(UNETS[setting.model])
    given = [tensor.to("meta", torch.float32) for tensor in inputs(setting)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*given)
    return int(counter.get_total_flops())
