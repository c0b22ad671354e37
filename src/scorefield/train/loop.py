"""The training loop: a generator that yields after every update."""

import copy
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Generic, NamedTuple

import torch

from scorefield.train import ema
from scorefield.train.batches import prefetch
from scorefield.train.errors import NonFiniteError, TrainError
from scorefield.train.recipe import M, Recipe


class TrainStep(NamedTuple):
    """What is reported after an update."""

    step: int  # updates done so far
    samples: int  # seen so far
    loss: float
    grad_norm: float  # before clipping
    lr: float  # of the first group
    figures: Mapping[str, float]  # what else the loss reports


@dataclass(kw_only=True)
class Training(Generic[M]):
    """All that a run changes as it goes, which is what a saved state holds."""

    module: M
    ema: M
    optimizer: torch.optim.Optimizer
    step: int = 0
    samples: int = 0
    seconds: float = 0.0


def key(seed: int, step: int) -> int:
    """The seed of one step, in the 32 bits that the CPU's generator uses: no two steps of a run share one."""
    return (seed * 0x9E3779B1 + step) % 2**32


@contextmanager
def seeded(seed: int, step: int, device: torch.device) -> Iterator[torch.Generator]:
    """The generator of one step. Meanwhile torch's own generators (dropout, initial weights) are seeded, too."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(key(seed, step))
        yield torch.Generator().manual_seed(key(seed, step))


def start(recipe: Recipe[M], device: torch.device) -> Training[M]:
    """A run before its first update."""
    with seeded(recipe.seed, 0, device):
        module = recipe.build().to(device)
    averaged = copy.deepcopy(module).requires_grad_(False).eval()
    return Training(module=module, ema=averaged, optimizer=recipe.optimizer(module))


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """The context for a forward in `dtype`: the weights stay float32 and are cast as they are used."""
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
    ema.update(run.ema, run.module, ema.ramp(recipe.ema, run.step))
    return value, size


def train(
    recipe: Recipe[M], run: Training[M], rates: list[float], device: torch.device, dtype: torch.dtype, steps: int
) -> Generator[TrainStep]:
    """Train `run` until it has done `steps` updates; yields after each, when `run` may be saved, evaluated or left.

    `rates` are the base learning rates of the optimiser's groups; `dtype` is that of the forward, float32 or bfloat16.
    NonFiniteError for a loss or a gradient that is not finite, before the weights change; TrainError if the data end.
    """
    run.module.train()
    batches = prefetch(recipe.batches(run.samples))
    try:
        while run.step < steps:
            batch = next(batches, None)
            if batch is None:
                raise TrainError(f"step {run.step + 1}: the data ended; a recipe's batches must not")
            batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
            factor = recipe.schedule(run.step + 1, steps)
            for group, rate in zip(run.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            with seeded(recipe.seed, run.step + 1, device) as generator, autocast(device, dtype):
                loss, figures = recipe.loss(run.module, batch, generator)
            value, norm = _update(recipe, run, loss)
            reported = {name: float(figure) for name, figure in figures.items()}
            yield TrainStep(run.step, run.samples, value, norm, rates[0] * factor, reported)
    finally:
        batches.close()
