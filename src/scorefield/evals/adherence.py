"""Adherence: how often a picture shows just what its prompt says, on combinations that were never trained on."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorefield.data.asked import Task
from scorefield.data.render import render
from scorefield.data.scenes import Scene, scene
from scorefield.evals.interval import Share, wilson
from scorefield.evals.judge import Look, Seen
from scorefield.evals.verdict import faults

Draw = Callable[[Sequence[Scene], int], Tensor]  # scenes, seed -> (B, 3, H, W) uint8; the k-th drawn from seed + k
ALL_TASKS: tuple[Task, ...] = ("single", "two", "counting", "colours", "position", "binding")  # as in GenEval
Askable = Callable[[Scene], bool]  # whether a model can be asked for a scene, and a judge can judge it
MOST = 1000  # scenes that are looked at for one that can be asked for


class Judged(NamedTuple):
    """One picture: the scene whose caption was its prompt, its seed, what the judge found, and what is wrong."""

    scene: Scene
    seed: int
    seen: Seen
    faults: list[str]


def anything(one: Scene) -> bool:
    """That every scene can be asked for."""
    return True


def prompts(task: Task, count: int, askable: Askable = anything) -> list[Scene]:
    """The first `count` held-out scenes of a task that can be asked for, in no style: pencil has no colours to judge.

    ValueError where there are too few.
    """
    chosen: list[Scene] = []
    for index in range(MOST * count):
        one = scene(index, split="heldout", task=task)
        if one.style is None and askable(one):
            chosen.append(one)
            if len(chosen) == count:
                return chosen
    raise ValueError(f"the model and the judge have too few words in common for the task {task}")


def renders(scenes: Sequence[Scene], seed: int = 0) -> Tensor:
    """A Draw of the true pictures, (B, 3, 128, 128), for any seed: what is scored is then the judge itself."""
    return torch.from_numpy(np.stack([render(one) for one in scenes])).permute(0, 3, 1, 2)


def judged(
    draw: Draw, look: Look, *, askable: Askable = anything, tasks: Sequence[Task] = ALL_TASKS, count: int = 100,
    seed: int = 0, batch: int = 32,
) -> Iterator[Judged]:  # fmt: skip
    """Every picture once it is judged: `count` prompts of each task, always the same; picture k of all has seed + k."""
    scenes = [one for task in tasks for one in prompts(task, count, askable)]
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
