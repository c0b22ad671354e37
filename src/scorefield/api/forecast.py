"""Estimate the memory of a plan by running its networks without numbers, before anything is loaded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.api.free_memory import resident
from scorefield.api.resolve import Plan
from scorefield.core.half_precision import no_autocast
from scorefield.core.hollow_calls import Known
from scorefield.core.hollow_run import HollowRun
from scorefield.core.presence import is_late
from scorefield.model.events import Loading
from scorefield.model.part_names import Part
from scorefield.model.system import System
from scorefield.nets.experts import Experts
from scorefield.notes import collecting

# Networks by where a stage has them; others are called by their place.
_NAMES = {
    "conditioner.encoder": Part.TEXT,
    "conditioner.clip": Part.TEXT,
    "conditioner.first.encoder": Part.TEXT,
    "conditioner.second.encoder": Part.TEXT_2,
    "conditioner.image_encoder": Part.IMAGE,
    "conditioner.statistics": Part.STATISTICS,
    "codec": Part.AUTOENCODER,
    "codec.pictures": Part.AUTOENCODER,
}


# Measured, where shapes do not say it: the pages of torch's kernels, which are read when they first run; the blocks
# that the threads of a load leave to the allocator; freed blocks that it keeps, since they are below 32 MiB (glibc).
_KERNELS, _READING, _KEPT = 30 << 20, 96 << 20, 256 << 20
_GPU_KERNELS = 256 << 20  # workspaces of cuBLAS and cuDNN


@dataclass(frozen=True, slots=True, kw_only=True)
class PartMemory:
    """What one network of a model takes."""

    name: str
    bytes: int  # its weights
    peak_bytes: int  # its weights, and the most of what it computes


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The memory of a plan on its device."""

    parts: tuple[PartMemory, ...]
    base_bytes: int  # of the process without the model
    offload: bool = False  # one part is in memory at a time

    @property
    def peak_bytes(self) -> int:
        """The most memory that the process takes, weights included: of all parts, or of the largest."""
        if self.offload:
            return self.base_bytes + max((part.peak_bytes for part in self.parts), default=0)
        work = max((part.peak_bytes - part.bytes for part in self.parts), default=0)
        return self.base_bytes + sum(part.bytes for part in self.parts) + work


def forecast(plan: Plan, hollow: System, known: Known | None = None) -> Forecast:
    """The memory of `plan` on a system whose networks have no numbers: its largest batch is drawn without them.

    A text encoder is left out if what it makes of all prompts is remembered, as it will not be read. `known` is what
    earlier forecasts on this device found out; with it, this one computes only what is new.
    """
    base, parts = resident(), dict(_parts(hollow))
    offload, work = plan.request.offload, _work(plan, hollow, parts, known)
    parts = {name: net for name, net in parts.items() if work[name] or not is_late(net)}
    sizes = {name: _size(net, offload=offload) for name, net in parts.items()}
    if hollow.device.type == "cpu":
        base += _KERNELS + min(_READING, sum(sizes.values()) // 8)
    else:
        base = _GPU_KERNELS  # what the process has on the CPU is not there
    measured = (
        PartMemory(name=name, bytes=size, peak_bytes=size + work[name] + min(_KEPT, work[name] // 2))
        for name, size in sizes.items()
    )
    return Forecast(parts=tuple(measured), base_bytes=base, offload=offload)


def weights_of(system: System) -> int:
    """Bytes of all weights of a system."""
    return sum(_size(net, offload=False) for _, net in _parts(system))


@torch.no_grad()
def _work(plan: Plan, hollow: System, parts: Mapping[str, nn.Module], known: Known | None) -> Mapping[str, int]:
    """The most that each part holds besides weights, in bytes. One step is walked: all take the same."""
    batch = max(plan.batches, key=lambda one: len(one.seeds))
    made: object = None
    extra = _workspace if hollow.device.type == "cpu" else None
    with collecting(), no_autocast(), HollowRun(hollow.device, extra, known) as run:
        for name, net in parts.items():
            run.watch(name, net)
        for stage, stage_plan in zip(hollow.stages, plan.stages, strict=True):
            steps = stage.run(stage_plan, batch, made)
            step = next(step for step in steps if not isinstance(step, Loading))
            del steps
            made = stage.make(stage_plan, step.x)
        if isinstance(made, Iterator):
            made = list(made)  # a job keeps all frames
    return dict(run.peaks)


def _workspace(func: Any, args: Sequence[Any]) -> int:
    """Bytes that a kernel takes while it runs: on a CPU convolutions put their weights in another order.

    Where oneDNN has no half precision, torch lays out the input of each place of the kernel first.
    """
    if func is not torch.ops.aten.convolution.default:
        return 0
    x: Tensor = args[0]
    weight: Tensor = args[1]
    size, places = x.numel() * x.element_size(), weight[0, 0].numel()
    if x.dtype != torch.float32 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return size * places
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return weight.numel() * weight.element_size() + (0 if last else size)


def _parts(system: System) -> Iterator[tuple[str, nn.Module]]:
    """The networks of a system by name."""
    seen: set[int] = set()
    several = len(system.stages) > 1
    for number, stage in enumerate(system.stages, 1):
        for place, net in _networks(stage, "", seen):
            name = _NAMES.get(place, place)
            yield f"{name} of stage {number}" if several else name, net


def _networks(owner: object, place: str, seen: set[int]) -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules that an object of ours has, by the names that lead to them."""
    if id(owner) in seen or isinstance(owner, Tensor | type):
        return
    seen.add(id(owner))
    if isinstance(owner, nn.Module):
        seen |= {id(one) for one in owner.modules()}
        yield place, owner
        return
    names = getattr(type(owner), "__slots__", None) or getattr(owner, "__dict__", {})
    for name in names:
        value = getattr(owner, name, None)
        if isinstance(value, nn.Module) or hasattr(value, "__dict__") or hasattr(type(value), "__slots__"):
            yield from _networks(value, f"{place}.{name}" if place else name, seen)


def _size(net: nn.Module, *, offload: bool) -> int:
    """Bytes of a network's weights; of two experts that are offloaded, one is in memory at a time."""
    held = {*net.parameters(), *net.buffers()}
    for one in net.modules() if offload else ():
        if isinstance(one, Experts):
            held -= {*one.low.parameters(), *one.low.buffers()}
    return sum(one.numel() * one.element_size() for one in held)
