"""The task for both programs: a step of a network of published size with random weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scorefield.bench.subjects import SUBJECTS, Given
from scorefield.families.fill import hollow
from scorefield.weights import key_map

WEIGHTS = "diffusion_pytorch_model.safetensors"
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


def inputs(setting: Setting) -> Given:
    """The inputs of a step; times stay float32."""
    given = SUBJECTS[setting.model].given(torch.Generator().manual_seed(1), setting.size)
    device, dtype = torch.device(setting.device), setting.torch_dtype
    return tuple(one.to(device, dtype if one.ndim > 1 else torch.float32) for one in given)


def write_weights(model: str, folder: Path) -> None:
    """Write random weights in diffusers' layout, in bfloat16, so that neither float32 nor bfloat16 rounds them.

    Every weight is random, including those that are usually initialised to 0 or 1.
    """
    subject, generator = SUBJECTS[model], torch.Generator().manual_seed(0)
    with hollow():
        empty = subject.build()
    weights = {name: _drawn(name, weight.shape, generator) for name, weight in empty.named_parameters()}
    save_file(key_map.write(subject.entries, weights), folder / WEIGHTS)


def _drawn(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    drawn = torch.empty(shape, dtype=torch.bfloat16).normal_(generator=generator)
    if len(shape) > 1:
        return drawn.mul_(shape[1:].numel() ** -0.5)
    return drawn.mul_(0.1).add_(1) if "norm" in name and name.endswith("weight") else drawn.mul_(0.05)


def flop(setting: Setting) -> int:
    """The floating-point operations of a step: matrix products, convolutions and attention."""
    subject = SUBJECTS[setting.model]
    with hollow():
        net = subject.build()
    given = [tensor.to("meta", torch.float32) for tensor in inputs(setting)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        subject.step(net)(*given)
    return int(counter.get_total_flops())
