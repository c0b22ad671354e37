"""The training loop: a generator that yields after every update."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Generic, NamedTuple

import torch
from torch import nn

from scorefield.errors import MachineError, UnsupportedError
from scorefield.train.average import Average, WeightAverage
from scorefield.train.batches import ALONE, World, prefetch
from scorefield.train.recipe import M, Recipe


class NonFiniteError(MachineError):
    """The loss or the gradient of a step is not finite; the weights are those of the step before."""

    def __init__(self, step: int, loss: float, grad_norm: float) -> None:
        super().__init__(
            f"step {step}: loss {loss:g}, gradient norm {grad_norm:g}; the weights were not changed: "
            "lower the learning rate or check the data of this step"
        )
        self.step = step


class TrainStep(NamedTuple):
    """The report after an update."""

    step: int  # updates done so far
    samples: int  # seen so far
    loss: float
    grad_norm: float  # before clipping
    lr: float  # of the first group
    figures: Mapping[str, float]  # the other scalars that the loss reports


@dataclass(kw_only=True)
class Training(Generic[M]):
    """Everything that changes during a run: the content of a saved state."""

    module: M
    average: Average
    optimizer: torch.optim.Optimizer
    step: int = 0
    samples: int = 0
    seconds: float = 0.0


def key(seed: int, step: int, rank: int = 0) -> int:
    """The seed of one step on one rank, in the 32 bits that the CPU's generator uses.

    Steps and ranks of a run do not share seeds: those of 1,024 ranks, multiples of 2^32 (sqrt(2) - 1), are more than a
    million steps apart.
    """
    return (seed * 0x9E3779B1 + rank * 0x6A09E667 + step) % 2**32


@contextmanager
def seeded(seed: int, step: int, device: torch.device, rank: int = 0) -> Iterator[torch.Generator]:
    """The generator of one step. Inside, torch's own generators (dropout, initial weights) are seeded as well."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(key(seed, step, rank))
        yield torch.Generator().manual_seed(key(seed, step, rank))


def start(
    recipe: Recipe[M], device: torch.device, average: Callable[[nn.Module, float], Average] = WeightAverage
) -> Training[M]:
    """A run before its first update, with the same weights on every rank. `average` takes the module and the decay."""
    with seeded(recipe.seed, 0, device):
        module = recipe.build().to(device)
    return Training(module=module, average=average(module, recipe.ema), optimizer=recipe.optimizer(module))


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """The context for a forward pass in `dtype`: the weights stay float32 and are cast when used."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def _update(recipe: Recipe[M], run: Training[M], loss: torch.Tensor) -> tuple[float, float]:
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
    value, size = torch.stack([loss.detach().float(), norm.float()]).tolist()
    if not (math.isfinite(value) and math.isfinite(size)):
        raise NonFiniteError(run.step + 1, value, size)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.step += 1
    run.samples += recipe.batch
    run.average.update(run.step)
    return value, size


def train(
    recipe: Recipe[M], run: Training[M], rates: list[float], device: torch.device, dtype: torch.dtype, steps: int,
    world: World = ALONE,
) -> Generator[TrainStep]:  # fmt: skip
    """Train `run` until it has done `steps` updates; after each yield, `run` may be saved, evaluated or left.

    `rates` are the base learning rates of the optimiser's groups; the forward pass is in `dtype`, float32 or bfloat16.
    A step computes this rank's share of its batch, and draws with this rank's seed; both are functions of the recipe,
    the step and `world` alone. NonFiniteError for a loss or a gradient that is not finite, before the weights change;
    UnsupportedError if the data end.
    """
    run.module.train()
    batches = prefetch(recipe.batches(run.samples) if world == ALONE else recipe.batches(run.samples, world))
    try:
        while run.step < steps:
            batch = next(batches, None)
            if batch is None:
                raise UnsupportedError(f"step {run.step + 1}: the data ended; the batches of a recipe must be endless")
            batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
            factor = recipe.schedule(run.step + 1, steps)
            for group, rate in zip(run.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            with seeded(recipe.seed, run.step + 1, device, world.rank) as generator, autocast(device, dtype):
                loss, figures = recipe.loss(run.module, batch, generator)
            value, norm = _update(recipe, run, loss)
            reported = {name: float(figure) for name, figure in figures.items()}
            yield TrainStep(run.step, run.samples, value, norm, rates[0] * factor, reported)
    finally:
        batches.close()
