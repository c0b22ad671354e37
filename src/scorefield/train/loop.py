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
    """One update: `step` = 1, 2, ... updates are done, and `samples` were seen."""

    step: int
    samples: int
    loss: float
    grad_norm: float  # before clipping
    lr: float  # of the first group
    figures: Mapping[str, float]  # what the loss reports besides


@dataclass(kw_only=True)
class Training(Generic[M]):
    """What a run changes as it goes: all that a saved state holds."""

    module: M
    ema: M
    optimizer: torch.optim.Optimizer
    step: int = 0
    samples: int = 0
    seconds: float = 0.0


def key(seed: int, step: int) -> int:
    """The 32-bit seed of one step (all that the CPU's Mersenne twister takes): no two steps of a run share one."""
    return (seed * 0x9E3779B1 + step) % 2**32


@contextmanager
def seeded(seed: int, step: int, device: torch.device) -> Iterator[torch.Generator]:
    """The generator of one step; torch's own generators (dropout, initial weights) are seeded too, and put back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(key(seed, step))
        yield torch.Generator().manual_seed(key(seed, step))


def start(recipe: Recipe[M], device: torch.device) -> Training[M]:
    """A run that has done nothing yet."""
    with seeded(recipe.seed, 0, device):
        module = recipe.build().to(device)
    averaged = copy.deepcopy(module).requires_grad_(False).eval()
    return Training(module=module, ema=averaged, optimizer=recipe.optimizer(module))


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """The forward's precision: float32 weights are cast as they are used."""
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
    """Train `run` on to `steps` updates and yield after each; `run` may be saved, evaluated, or left at any yield.

    `rates` are the base learning rates of the optimiser's groups; `dtype` is the forward's, float32 or bfloat16.
    NonFiniteError when a loss or a gradient is not finite, before the weights change.
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
