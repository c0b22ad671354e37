"""The saved state of a run: one safetensors file with weights, average, optimiser and a JSON header; no pickle."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield import atomic
from scorefield.train.errors import TrainError
from scorefield.train.loop import Training
from scorefield.train.recipe import M


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a state file says of itself."""

    recipe: str
    settings: Mapping[str, str]
    steps: int  # how many the run was to have
    step: int
    samples: int
    seconds: float
    optimizer: str
    crc32: int  # of all tensors, by sorted name
    torch: str = field(default_factory=lambda: str(torch.__version__))


def _weights(module: nn.Module) -> dict[str, Tensor]:
    kept = module.state_dict().keys()
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: value.detach() for name, value in named if name in kept}


def _moments(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = {name: optimizer.state.get(p, {}) for name, p in module.named_parameters()}
    return {f"{name}/{key}": value for name, one in state.items() for key, value in one.items() if value is not None}


def _tensors(run: Training[M]) -> dict[str, Tensor]:
    parts = {"module": _weights(run.module), "ema": _weights(run.ema), "optimizer": _moments(run.module, run.optimizer)}
    return {f"{part}/{name}": value for part, named in parts.items() for name, value in named.items()}


def _crc32(tensors: Mapping[str, Tensor]) -> int:
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, zlib.crc32(name.encode(), crc))
    return crc


def save(path: Path, run: Training[M], recipe: str, settings: Mapping[str, str], steps: int) -> None:
    """Write the state whole or not at all: a temporary file beside it, then a rename."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in _tensors(run).items()}
    header = Header(
        recipe=recipe, settings=dict(settings), steps=steps, step=run.step, samples=run.samples, seconds=run.seconds,
        optimizer=type(run.optimizer).__name__, crc32=_crc32(tensors),
    )  # fmt: skip
    try:
        with atomic.replacing(path) as part:
            save_file(tensors, part, metadata={"state": json.dumps(vars(header))})
    except SafetensorError as error:
        raise TrainError(f"cannot write {path} ({error}); the state before it is untouched") from None


def read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """A state file's header and tensors; TrainError if any byte of it is damaged."""
    advice = "move it away or start again with --fresh"
    try:
        with safe_open(path, framework="pt") as file:
            header = Header(**json.loads((file.metadata() or {})["state"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainError(f"{path} is damaged or not a training state ({error}); {advice}") from None
    if _crc32(tensors) != header.crc32:
        raise TrainError(f"{path} is damaged (its checksum is wrong); {advice}")
    return header, tensors


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], part: str, path: Path) -> None:
    want = _weights(module)
    have = {name.removeprefix(f"{part}/"): value for name, value in tensors.items() if name.startswith(f"{part}/")}
    if odd := sorted(want.keys() ^ have.keys()):
        raise TrainError(f"{path} is of another network: {odd[0]!r} is {'missing' if odd[0] in want else 'unknown'}")
    for name, value in have.items():
        if value.shape != want[name].shape or value.dtype != want[name].dtype:
            raise TrainError(f"{path} is of another network: {name!r} is {list(value.shape)} {value.dtype}")
        want[name].copy_(value)


def _fill_optimizer(run: Training[M], tensors: Mapping[str, Tensor], path: Path) -> None:
    names = {id(p): name for name, p in run.module.named_parameters()}
    order = [p for group in run.optimizer.param_groups for p in group["params"]]
    index = {names[id(p)]: i for i, p in enumerate(order)}
    state: dict[int, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        part, _, rest = full.partition("/")
        if part != "optimizer":
            continue
        name, _, key = rest.rpartition("/")
        if name not in index or (value.ndim and value.shape != order[index[name]].shape):
            raise TrainError(f"{path} is of another network or optimiser: {full!r} does not fit")
        # The strides must be the parameter's, since fused kernels walk both in step.
        kept = torch.empty_like(order[index[name]], dtype=value.dtype).copy_(value) if value.ndim else value
        state.setdefault(index[name], {})[key] = kept
    groups = run.optimizer.state_dict()["param_groups"]
    run.optimizer.load_state_dict({"state": state, "param_groups": groups})


@torch.no_grad()
def fill(run: Training[M], header: Header, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put a state that was read from `path` into `run`, every key accounted for; TrainError names what does not fit."""
    if header.optimizer != type(run.optimizer).__name__:
        raise TrainError(f"{path} was made by {header.optimizer}, the recipe has {type(run.optimizer).__name__}")
    if odd := [name for name in tensors if name.partition("/")[0] not in ("module", "ema", "optimizer")]:
        raise TrainError(f"{path} has an unknown key {odd[0]!r}")
    _fill(run.module, tensors, "module", path)
    _fill(run.ema, tensors, "ema", path)
    _fill_optimizer(run, tensors, path)
    run.step, run.samples, run.seconds = header.step, header.samples, header.seconds
