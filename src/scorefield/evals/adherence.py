"""Adherence: how often a picture shows just what its prompt says, on combinations that were never trained on."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield.data.render import render
from scorefield.data.scenes import TASKS, Scene, Task, scene
from scorefield.evals.interval import Share, wilson
from scorefield.evals.judge import Look, Seen
from scorefield.evals.verdict import faults

Draw = Callable[[Sequence[Scene], int], Tensor]  # scenes, seed -> (B, 3, H, W) uint8; the k-th drawn from seed + k
ALL_TASKS: tuple[Task, ...] = tuple(TASKS)


class Judged(NamedTuple):
    """One picture: the scene whose caption was its prompt, its seed, what the judge found, and what is wrong."""

    scene: Scene
    seed: int
    seen: Seen
    faults: list[str]


def prompts(task: Task, count: int) -> list[Scene]:
    """The first `count` held-out scenes of a task that are in no style: pencil has no colours to judge."""
    chosen: list[Scene] = []
    index = 0
    while len(chosen) < count:
        one = scene(index, split="heldout", task=task)
        index += 1
        if one.style is None:
            chosen.append(one)
    return chosen


def renders(scenes: Sequence[Scene], seed: int = 0) -> Tensor:
    """A Draw of the true pictures, (B, 3, 128, 128), for any seed: what is scored is then the judge itself."""
    return torch.from_numpy(np.stack([render(one) for one in scenes])).permute(0, 3, 1, 2)


def judged(
    draw: Draw, look: Look, *, tasks: Sequence[Task] = ALL_TASKS, count: int = 100, seed: int = 0, batch: int = 32
) -> Iterator[Judged]:
    """Every picture once it is judged: `count` prompts of each task, always the same; picture k of all has seed + k."""
    scenes = [one for task in tasks for one in prompts(task, count)]
    for start in range(0, len(scenes), batch):
        some = scenes[start : start + batch]
        first = seed + start
        for k, (one, seen) in enumerate(zip(some, look(draw(some, first)), strict=True)):
            yield Judged(one, first + k, seen, faults(one, seen))


def shares(results: Iterable[Judged]) -> dict[str, Share]:
    """The share of right pictures of every task, and `overall`; ValueError for no results.

    As every task has equally many, `overall` over all pictures is the mean over tasks.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    for one in results:
        right[one.scene.task].append(not one.faults)
        right["overall"].append(not one.faults)
    right["overall"] = right.pop("overall", [])  # last
    return {task: wilson(sum(each), len(each)) for task, each in right.items()}
