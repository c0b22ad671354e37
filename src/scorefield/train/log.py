"""The run's log: one JSON object a line."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from scorefield import atomic
from scorefield.train.loop import TrainStep


class Log:
    """The file log.jsonl of a run: means over every `every` steps, and each evaluation.

    A run that resumes after `step` first removes the lines of later steps, which were lost and will be done again.
    """

    def __init__(self, path: Path, step: int, every: int) -> None:
        self.path, self.every = path, every
        if path.exists():
            lines = [line for line in path.read_text().splitlines(keepends=True) if _step(line) <= step]
            with atomic.replacing(path) as part:
                part.write_text("".join(lines))
        self.steps: list[TrainStep] = []
        self.since = time.monotonic()

    def write(self, values: Mapping[str, float | Mapping[str, float]]) -> None:
        """Append one line."""
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")

    def add(self, step: TrainStep, force: bool = False) -> dict[str, float] | None:
        """Take in a step. When a line is due, or with `force`, write the means since the last line and return them."""
        self.steps.append(step)
        if step.step % self.every and not force:
            return None
        now, count = time.monotonic(), len(self.steps)
        seen = step.samples - self.steps[0].samples + step.samples // step.step
        names = {name for one in self.steps for name in one.figures}
        means = {
            "step": step.step,
            "samples": step.samples,
            "loss": sum(one.loss for one in self.steps) / count,
            "grad_norm": sum(one.grad_norm for one in self.steps) / count,
            "lr": step.lr,
            "per_second": seen / max(now - self.since, 1e-9),
            **{name: sum(one.figures.get(name, 0.0) for one in self.steps) / count for name in sorted(names)},
        }
        self.write(means)
        self.steps, self.since = [], now
        return means


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # half a line, from a run that was killed
