"""Train the network of the plane, in seconds on a CPU."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from dataclasses import field as entry
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.core import clock, gauge, predict
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Denoise, Preconditioned, bind
from scorefield.core.level import Number
from scorefield.core.predict import Prediction
from scorefield.data import shapes
from scorefield.data.shapes import Shape
from scorefield.lab.experiment import Watch, silent
from scorefield.nets.mlp import PlaneConfig, PlaneNet
from scorefield.train import average
from scorefield.train.objective import levels, objective, uniform
from scorefield.train.optim import Wsd


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The length, rate and size of a training."""

    steps: int = 1500
    batch: int = 512
    lr: float = 4e-3
    width: int = 128
    classes: int = 0  # the network learns one more, no class
    drop: float = 0.2  # share of labels replaced by none (Ho & Salimans 2022)
    timed: bool = True  # whether the network gets the level as an input


class Update(NamedTuple):
    """One training step: the steps done, the loss, and the averaged network, which later steps change."""

    step: int
    loss: float
    denoiser: Preconditioned


class Task(NamedTuple):
    """The prediction of a network, and the scalar loss for a batch of x0 (B, 2)."""

    prediction: Prediction
    loss: Callable[[Preconditioned, Tensor, Cond, torch.Generator], Tensor]


def _flow_loss(live: Preconditioned, x0: Tensor, cond: Cond, generator: torch.Generator) -> Tensor:
    at = levels(gauge.vp, uniform, len(x0), generator)
    eps = torch.randn(x0.shape, generator=generator)
    return objective(live, x0, cond, at, eps).mean()


# The flow, eps - x0, of the VP state (Lipman et al. 2022), finite at both ends, with t uniform in (0, 1).
FLOW = Task(predict.flow, _flow_loss)


def _stopped(lam: Number) -> Tensor:
    """The clock of a network without a time input: always 0."""
    return torch.zeros_like(clock.flow(lam))


def training(shape: Shape, how: Training, seed: int, task: Task = FLOW) -> Iterator[Update]:
    """Train on fresh samples of `shape`, and yield after every update."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PlaneNet(PlaneConfig(width=how.width, classes=how.classes + 1 if how.classes else 0))
    averaged = copy.deepcopy(net).requires_grad_(False)
    ticking = clock.flow if how.timed else _stopped
    live, shown = (Preconditioned(one, task.prediction, ticking) for one in (net, averaged))
    optimizer = torch.optim.Adam(net.parameters(), lr=how.lr, betas=(0.9, 0.99))
    schedule = Wsd(warmup=100, decay=0.5)
    for step in range(1, how.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = how.lr * schedule(step, how.steps)
        x0, label = shape.draw(how.batch, generator)
        if how.classes:
            dropped = torch.rand(how.batch, generator=generator) < how.drop
            label = label.masked_fill(dropped, how.classes)
        loss = task.loss(live, x0, Cond(label=label) if how.classes else Cond(), generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        average.update(averaged, net, average.ramp(0.998, step))
        yield Update(step, float(loss.detach()), shown)


def learn(shape: Shape, how: Training, seed: int, watch: Watch = silent) -> Preconditioned:
    """Train a network on a shape, as a Denoiser."""
    for update in watch(training(shape, how, seed), "training", how.steps):
        last = update
    return last.denoiser.requires_grad_(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    name: str
    how: Training
    seed: int
    watch: Watch = entry(compare=False)  # the Watch does not change the network


@lru_cache(maxsize=8)
def _kept(order: _Order) -> Preconditioned:
    return learn(shapes.find(order.name), order.how, order.seed, order.watch)


def learned(name: str, how: Training, seed: int, watch: Watch = silent) -> Preconditioned:
    """The trained network for the shape of that name, as a Denoiser; ShapeError if there is none.

    Several experiments use the same network, so a process trains it once for a named shape. For a file it trains each
    time, since the points may have changed.
    """
    if name in shapes.SHAPES:
        return _kept(_Order(name=name, how=how, seed=seed, watch=watch))
    return learn(shapes.find(name), how, seed, watch)


def field(denoiser: Preconditioned) -> Denoise:
    """An unconditional network as a Denoise."""
    return bind(denoiser, Cond())
