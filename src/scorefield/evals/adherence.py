"""Adherence: how often a picture shows exactly what its prompt says, for combinations absent from training."""

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

Draw = Callable[[Sequence[Scene], int], Tensor]  # scenes, seed -> (B, 3, H, W) uint8; the k-th has seed + k
ALL_TASKS: tuple[Task, ...] = ("single", "two", "counting", "colours", "position", "binding")  # as in GenEval
Askable = Callable[[Scene], bool]  # whether a model can draw a scene, and a judge can judge it
MOST = 1000  # scenes to try for each one that is askable


class Judged(NamedTuple):
    """One picture: the scene whose caption was its prompt, its seed, the judge's findings, and the faults."""

    scene: Scene
    seed: int
    seen: Seen
    faults: list[str]

    @property
    def right(self) -> bool:
        """Whether the picture shows exactly what its prompt says."""
        return not self.faults


def anything(one: Scene) -> bool:
    """True: every scene is askable."""
    return True


def prompts(task: Task, count: int, askable: Askable = anything) -> list[Scene]:
    """The first `count` askable held-out scenes of a task, without style: a pencil drawing has no colours to judge.

    ValueError if there are too few.
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
    """A Draw of the true pictures, (B, 3, 128, 128), for any seed, to score the judge itself."""
    return torch.from_numpy(np.stack([render(one) for one in scenes])).permute(0, 3, 1, 2)


def judged(
    draw: Draw, look: Look, *, askable: Askable = anything, tasks: Sequence[Task] = ALL_TASKS, count: int = 100,
    seed: int = 0, batch: int = 32,
) -> Iterator[Judged]:  # fmt: skip
    """Yield every picture as it is judged: for each task the same `count` prompts; picture k of all has seed + k."""
    scenes = [one for task in tasks for one in prompts(task, count, askable)]
    for start in range(0, len(scenes), batch):
        some = scenes[start : start + batch]
        first = seed + start
        for k, (one, seen) in enumerate(zip(some, look(draw(some, first)), strict=True)):
            yield Judged(one, first + k, seen, faults(one, seen))


def shares(results: Iterable[Judged]) -> dict[str, Share]:
    """The share of right pictures of every task, and `overall`; ValueError for no results.

    Every task has equally many pictures, so `overall` is the mean over tasks.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    for one in results:
        right[one.scene.task].append(not one.faults)
        right["overall"].append(not one.faults)
    right["overall"] = right.pop("overall", [])  # last
    return {task: wilson(sum(each), len(each)) for task, each in right.items()}
