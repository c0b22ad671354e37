"""The saved state of a run: one safetensors file with weights, average, optimiser and a JSON header; no pickle."""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Protocol

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield import atomic
from scorefield.errors import DamagedError, MachineError, RequestError, UnsupportedError
from scorefield.train.loop import Training
from scorefield.train.recipe import M

STATE, STABLE = "state.safetensors", "state-stable.safetensors"
_ADVICE = "move it away or start again with --fresh"
_Natural = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header of a state file."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    recipe: str
    settings: Mapping[str, str]
    steps: Annotated[int, Field(ge=1)]  # the planned length of the run
    step: _Natural
    samples: _Natural
    seconds: Annotated[float, Field(ge=0)]
    optimizer: str
    crc32: int  # of all tensors, by sorted name
    torch: str = field(default_factory=lambda: str(torch.__version__))


_HEADER = TypeAdapter(Header)


class Checkpoints(Protocol):
    """The saved states of a run, by name: one file each, or one shard per process; every rank calls these."""

    def header(self, name: str) -> Header | None:
        """The header of a saved state; None if there is none to resume from."""

    def save(self, name: str, run: Training[M], recipe: str, settings: Mapping[str, str], steps: int) -> None:
        """Save the current state, whole or not at all; it may be written after the call returns."""

    def load(self, name: str, run: Training[M]) -> None:
        """Put a saved state into `run`."""

    def close(self) -> None:
        """Wait until all saved states are on disk."""


class FileCheckpoints:
    """The Checkpoints of one process: a file for each state, in the folder of the run.

    With `fresh`, the states of an earlier run in the folder are not resumed, and are deleted only when the first new
    state is complete.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self._folder, self._fresh = folder, fresh

    def header(self, name: str) -> Header | None:
        path = self._folder / name
        return None if self._fresh or not is_there(path) else read_header(path)

    def save(self, name: str, run: Training[M], recipe: str, settings: Mapping[str, str], steps: int) -> None:
        earlier = [self._folder / other for other in (STATE, STABLE) if other != name] if self._fresh else []
        save(self._folder / name, run, recipe, settings, steps, earlier)
        self._fresh = False

    def load(self, name: str, run: Training[M]) -> None:
        fill(run, *read(self._folder / name), self._folder / name)

    def close(self) -> None:
        """Nothing to wait for: states are on disk when `save` returns."""


def is_there(path: Path) -> bool:
    """Whether the file exists; RequestError if it is not a regular file, since opening it might block."""
    if path.exists() and not path.is_file():
        raise RequestError(f"{path} is not a regular file; move it away or choose another --output")
    return path.exists()


def _weights(module: nn.Module) -> dict[str, Tensor]:
    kept = module.state_dict().keys()
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: value.detach() for name, value in named if name in kept}


def _moments(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = {name: optimizer.state.get(p, {}) for name, p in module.named_parameters()}
    return {f"{name}/{key}": value for name, one in state.items() for key, value in one.items() if value is not None}


def _tensors(run: Training[M]) -> dict[str, Tensor]:
    weights, means = _weights(run.module), run.average.tensors()
    # Frozen parameters and buffers are their own average; safetensors refuses shared memory, hence the clone.
    ema = {name: means[name] if name in means else value.clone() for name, value in weights.items()}
    parts = {"module": weights, "ema": ema, "optimizer": _moments(run.module, run.optimizer)}
    return {f"{part}/{name}": value for part, named in parts.items() for name, value in named.items()}


def _crc32(tensors: Mapping[str, Tensor]) -> int:
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, zlib.crc32(name.encode(), crc))
    return crc


def save(
    path: Path, run: Training[M], recipe: str, settings: Mapping[str, str], steps: int, earlier: Sequence[Path] = ()
) -> None:
    """Write the state whole or not at all: a temporary file next to it, then a rename.

    The `earlier` states are deleted between the two, so that even after a kill no state of another run remains next to
    the new one.
    """
    is_there(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in _tensors(run).items()}
    header = Header(
        recipe=recipe, settings=dict(settings), steps=steps, step=run.step, samples=run.samples, seconds=run.seconds,
        optimizer=type(run.optimizer).__name__, crc32=_crc32(tensors),
    )  # fmt: skip
    try:
        with atomic.replacing(path) as part:
            save_file(tensors, part, metadata={"state": json.dumps(vars(header))})
            with part.open("rb+") as file:
                os.fsync(file.fileno())  # before earlier states are deleted
            for other in earlier:
                other.unlink(missing_ok=True)
    except SafetensorError as error:
        raise MachineError(f"cannot write {path} ({error}); the state before it is untouched") from None


def read_header(path: Path) -> Header:
    """A state file's header, without its tensors; DamagedError if it is not one."""
    return _read(path, tensors=False)[0]


def read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """A state file's header and tensors; DamagedError if any byte of it is damaged."""
    header, tensors = _read(path, tensors=True)
    if _crc32(tensors) != header.crc32:
        raise DamagedError(f"{path} is damaged (its checksum is wrong); {_ADVICE}")
    return header, tensors


def _read(path: Path, tensors: bool) -> tuple[Header, dict[str, Tensor]]:
    is_there(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = _HEADER.validate_json((file.metadata() or {})["state"])
            names = file.keys() if tensors else ()
            return header, {name: file.get_tensor(name) for name in names}
    except ValidationError as error:
        first = error.errors()[0]
        wrong = f"{'.'.join(map(repr, first['loc']))}: {first['msg']}"
        raise DamagedError(f"{path} is not a training state of this version ({wrong}); {_ADVICE}") from None
    except KeyError:
        raise DamagedError(f"{path} is not a training state; {_ADVICE}") from None
    except SafetensorError as error:
        raise DamagedError(f"{path} is damaged or not a training state ({error}); {_ADVICE}") from None


def _checked(path: Path, part: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one part of a state, checked against those of the run."""
    have = {name.removeprefix(f"{part}/"): value for name, value in tensors.items() if name.startswith(f"{part}/")}
    if odd := sorted(expected.keys() ^ have.keys()):
        wrong = "missing" if odd[0] in expected else "unknown"
        raise UnsupportedError(f"{path} belongs to another network: {odd[0]!r} is {wrong}")
    for name, value in have.items():
        if value.shape != expected[name].shape or value.dtype != expected[name].dtype:
            raise UnsupportedError(f"{path} belongs to another network: {name!r} is {list(value.shape)} {value.dtype}")
    return have


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
            raise UnsupportedError(f"{path} belongs to another network or optimiser: {full!r} does not fit")
        # With the parameter's strides, since fused kernels index both the same way.
        kept = torch.empty_like(order[index[name]], dtype=value.dtype).copy_(value) if value.ndim else value
        state.setdefault(index[name], {})[key] = kept
    groups = run.optimizer.state_dict()["param_groups"]
    run.optimizer.load_state_dict({"state": state, "param_groups": groups})


@torch.no_grad()
def fill(run: Training[M], header: Header, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put a state that was read from `path` into `run`; UnsupportedError names what does not fit."""
    if header.optimizer != type(run.optimizer).__name__:
        raise UnsupportedError(
            f"{path} was saved with {header.optimizer!r}, but the recipe uses {type(run.optimizer).__name__}"
        )
    if odd := [name for name in tensors if name.partition("/")[0] not in ("module", "ema", "optimizer")]:
        raise UnsupportedError(f"{path} contains an unknown tensor {odd[0]!r}")
    weights, means = _weights(run.module), run.average.tensors()
    module = _checked(path, "module", tensors, weights)
    ema = _checked(path, "ema", tensors, weights)
    for name, value in module.items():
        weights[name].copy_(value)
    for name, value in means.items():
        value.copy_(ema[name])
    _fill_optimizer(run, tensors, path)
    run.step, run.samples, run.seconds = header.step, header.samples, header.seconds
