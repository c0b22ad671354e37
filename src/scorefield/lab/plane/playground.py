"""A plane to play with: points, a network that learns their field while one watches, and walks along it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from scorefield.core.denoiser import Denoise, Preconditioned
from scorefield.core.level import Level
from scorefield.data.shapes import Shape
from scorefield.guide.cfg import cfg
from scorefield.lab.plane import levels
from scorefield.lab.plane.by_class import labelled, names, of_class
from scorefield.lab.plane.exact import posterior_mean
from scorefield.lab.plane.learn import Training, training
from scorefield.sample import samplers
from scorefield.sample.walk import Sampler

Field = Literal["none", "class", "guided", "exact"]
FIELDS: tuple[Field, ...] = get_args(Field)
START = 0.99  # t of the first level: at 1 every direction is the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Which class a walk or a field is of (None for any), and how strongly it is guided to it."""

    label: int | None = None
    alpha: float = 1.0


@dataclass(slots=True, kw_only=True)
class Playground:
    """A shape, with classes, and the network that learns it. One thread may learn while others look."""

    shape: Shape
    steps: int  # of the training
    seed: int = 0
    step: int = 0  # so many are done
    loss: float = float("nan")
    stopped: bool = False
    _denoiser: Preconditioned | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.shape = labelled(self.shape)

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return names(self.shape)

    def learn(self) -> None:
        """Train to the end, or until `stopped`; the averaged network can be used at once."""
        how = Training(steps=self.steps, classes=len(self.classes))
        for update in training(self.shape, how, self.seed):
            self._denoiser = update.denoiser
            self.step, self.loss = update.step, update.loss
            if self.stopped:
                return

    @torch.no_grad()
    def fields(self, times: Sequence[float], places: Tensor, wanted: Sequence[Field], aim: Aim) -> Tensor:
        """The clean points that fields predict from places (N, 2), at shares t of noise: (times, fields, N, 2).

        States are in the VP gauge. "exact" is the posterior mean of the class, or of all points.
        """
        found = [self._field(name, aim) for name in wanted]
        return torch.stack([torch.stack([one(places, levels.level(t)) for one in found]) for t in times])

    @torch.no_grad()
    def walk(
        self, sampler: str, steps: int, start: Tensor, *, aim: Aim, noisy: bool, exact: bool, seed: int = 0
    ) -> Tensor:
        """The states (steps + 1, N, 2) of a walk from points (N, 2) of noise; without noise if not `noisy`."""
        generator = torch.Generator().manual_seed(seed)

        def noise(at: Level, to: Level) -> Tensor:
            return torch.randn(start.shape, generator=generator) if noisy else torch.zeros_like(start)

        along: Sampler = samplers.find(sampler)[0].sampler
        passed = levels.walk_down(steps, start=START)
        denoise = self._field("exact" if exact else "guided", aim)
        return torch.stack([step.x for step in along(denoise, start, passed, noise)])

    def _field(self, name: Field, aim: Aim) -> Denoise:
        none = len(self.classes)
        if name == "exact":
            return posterior_mean(self.shape if aim.label is None else self.shape.only(aim.label))
        anything = self._of(none)
        if name == "none" or aim.label is None:
            return anything
        of_label = self._of(aim.label)
        return of_label if name == "class" else cfg(of_label, anything, aim.alpha)

    def _of(self, label: int) -> Denoise:
        denoiser = self._denoiser
        if denoiser is None:  # nothing is learned yet: the best guess is the middle
            return lambda x, at: torch.zeros_like(x)
        return of_class(denoiser, label)
