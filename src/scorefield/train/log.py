"""The run's log: one JSON object per line."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from scorefield import atomic
from scorefield.errors import DamagedError
from scorefield.train.loop import TrainStep
from scorefield.train.state import is_there


class Log:
    """The file log.jsonl of a run: means over every `every` steps, and each evaluation.

    A run that resumes after `step` first removes the lines of later steps, which it will repeat. A run from step 0
    keeps its lines in memory, and an earlier run's log on disk, until `keep` is called, after the first saved state.
    DamagedError for a file with lines that no run wrote.
    """

    def __init__(self, path: Path, step: int, every: int) -> None:
        self.path, self.every = path, every
        lines = _lines(path) if is_there(path) else []
        self._held: list[str] | None = [] if lines and not step else None
        if lines and step:
            self._replace([line for at, line in lines if at <= step])
        self.steps: list[TrainStep] = []
        self.since = time.monotonic()

    def keep(self) -> None:
        """Write this run's lines to disk from now on, in place of an earlier run's."""
        if self._held is not None:
            self._replace(self._held)
            self._held = None

    def write(self, values: Mapping[str, float | Mapping[str, float]]) -> None:
        """Append one line."""
        line = json.dumps(values) + "\n"
        if self._held is not None:
            self._held.append(line)
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def add(self, step: TrainStep, force: bool = False) -> dict[str, float] | None:
        """Include a step; when a line is due, or with `force`, write and return the means since the last line."""
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

    def _replace(self, lines: list[str]) -> None:
        with atomic.replacing(self.path) as part:
            part.write_text("".join(lines), encoding="utf-8")


def _lines(path: Path) -> list[tuple[float, str]]:
    """The lines of a log with their steps; a last line that a kill cut off is left out."""
    lines = path.read_bytes().splitlines(keepends=True)
    read = [_line(line) for line in lines]
    if odd := [number for number, line in enumerate(read[:-1], 1) if line is None]:
        raise DamagedError(
            f"{path}: line {odd[0]} is not from a training log; move the file away or choose another --output"
        )
    return [line for line in read if line]


def _line(line: bytes) -> tuple[float, str] | None:
    try:
        text = line.decode()
        return (float(json.loads(text)["step"]), text) if text.endswith("\n") else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
