"""How long a job will take: the model is loaded, and two steps and the decoding of their result are timed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from scorefield.api.job import Job
from scorefield.api.resolve import Plan
from scorefield.model.events import Step
from scorefield.model.system import System

_STEPS = 2  # the first one warms up
_CHUNKS = 2  # of a film that are decoded: its first one is shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The time of a job on this machine."""

    seconds_per_step: float  # of one batch
    seconds: float  # of the whole job, loading included


def probe(plan: Plan, load: Callable[[], System]) -> Timing:
    """Load the model and time two steps of the first batch of `plan`, and the decoding of what they make.

    The decoding is left out where a model has several stages.
    """
    start = time.perf_counter()
    system = load()
    loaded, ends = time.perf_counter(), list[float]()
    job = Job(plan, system)
    for event in job:
        if isinstance(event, Step):
            ends.append(time.perf_counter())
            last = event
            if len(ends) == min(_STEPS, event.n):
                break
    job.close()
    step = ends[-1] - (ends[-2] if len(ends) > 1 else loaded)
    words = max(0.0, ends[0] - loaded - step)  # and whatever else comes before the first step
    decode = _decode(plan, system, last.x) if len(plan.stages) == 1 else 0.0
    batch = words + plan.steps * step + decode
    return Timing(seconds_per_step=step, seconds=loaded - start + len(plan.batches) * batch)


@torch.no_grad()
def _decode(plan: Plan, system: System, x: Tensor) -> float:
    """The seconds that decoding `x` takes, of a film by those of its second chunk."""
    took, frames, begun = 0.0, 1, time.perf_counter()
    made = system.stages[-1].make(plan.stages[-1], x)
    if isinstance(made, Iterator):
        for chunk in islice(made, _CHUNKS):
            took, frames, begun = time.perf_counter() - begun, chunk.shape[1], time.perf_counter()
    return took * plan.canvas.frames / frames
