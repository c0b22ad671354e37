"""The contract of a family of generative models: a network learns from points, then draws new ones."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from scorefield.data.shapes import Shape
from scorefield.train import average
from scorefield.train.optim import Wsd

Likelihood = Literal["exact", "bound", "none"]


class Model(nn.Module, ABC):
    """A generative model of points in the plane; training changes only `parameters()`."""

    likelihood: ClassVar[Likelihood]  # what `log_likelihood` returns: the exact value, a lower bound, or None

    @property
    @abstractmethod
    def calls(self) -> int:
        """The number of network calls for a sample."""

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` points (count, 2) float32, without a graph."""

    @abstractmethod
    def log_likelihood(self, x: Tensor) -> Tensor | None:
        """The log density (N,) at points x (N, 2), in nats; None if the family has none."""


M = TypeVar("M", bound=Model)
Learned = TypeVar("Learned", bound=Model, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Training length and rate; schedule, averaging and optimiser are the same for every family."""

    steps: int
    lr: float
    batch: int = 256
    momentum: float = 0.9  # Adam's first beta; adversarial training needs 0


class Update(NamedTuple, Generic[Learned]):
    """One training step: the steps done, the loss, and the averaged model, which later steps change."""

    step: int
    loss: float
    model: Learned


Train = Callable[[Shape, Training, int], Iterator[Update[Model]]]  # shape, how, seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family with its tuned training."""

    name: str  # as in the numbers of an experiment
    title: str
    training: Train
    how: Training  # with the number of steps that fits the time that every family gets


def variant(family: Family, training: Train, steps: int) -> Family:
    """The family with a different training, in the number of steps that fits the same time."""
    return replace(family, training=training, how=replace(family.how, steps=steps))


def seeded(build: Callable[[], M], seed: int) -> M:
    """Call `build` with the initial weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def optimiser(part: nn.Module, how: Training) -> torch.optim.Adam:
    """Adam for the parameters of a model or of a part of it."""
    return torch.optim.Adam(part.parameters(), lr=how.lr, betas=(how.momentum, 0.99), fused=True)


def descend(optimizer: torch.optim.Adam, loss: Tensor, how: Training, step: int) -> None:
    """One gradient step on `loss`, at the scheduled rate for step 1, 2, ... of `how.steps`."""
    schedule = Wsd(warmup=min(100, how.steps // 4), decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] = how.lr * schedule(step, how.steps)
    optimizer.zero_grad(set_to_none=True)
    mine = [one for group in optimizer.param_groups for one in group["params"]]
    loss.backward(inputs=mine)  # type: ignore[no-untyped-call]  # the generator's loss must not train the critic
    optimizer.step()


class Averaged(Generic[M]):
    """The running average of a model's weights."""

    def __init__(self, model: M) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)

    def follow(self, model: M, step: int) -> M:
        """The average after step 1, 2, ... of `model`."""
        average.update(self.model, model, average.ramp(0.995, step))
        return self.model


def minimise(
    model: M, loss: Callable[[M, Tensor, torch.Generator], Tensor], shape: Shape, how: Training, seed: int
) -> Iterator[Update[M]]:
    """Minimise `loss(model, x0, generator)` on fresh samples of `shape`; a run depends on its seed alone."""
    data, noise = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    optimizer, averaged = optimiser(model, how), Averaged(model)
    for step in range(1, how.steps + 1):
        x0, _ = shape.draw(how.batch, data)
        value = loss(model, x0, noise)
        descend(optimizer, value, how, step)
        yield Update(step, float(value.detach()), averaged.follow(model, step))
