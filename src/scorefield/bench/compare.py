"""Both programs side by side: one process for each setting, and their steps in turn."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from scorefield.bench.task import UNETS, Setting, flop, write_weights
from scorefield.bench.theirs import write_config

OURS, THEIRS = "scorefield", "diffusers"
_MODULES = {OURS: "scorefield.bench.ours", THEIRS: "scorefield.bench.theirs"}

Say = Callable[[str], object]


class BenchError(RuntimeError):
    """A process that ended before its answer; the message is its last line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one program did in one setting; differences are relative, in norm, to diffusers in float32."""

    program: str
    dtype: str
    channels_last: bool
    compiled: bool
    step_s: float  # the best of all
    cpu_s: float  # of all processors together, for that step
    gflop_per_s: float
    memory_bytes: int  # the most that the process, or on a GPU its tensors, held
    load_s: float
    import_s: float  # from the start of the process on, torch included
    relative_difference: float
    peaked_relative_difference: float  # with queries 4 times as large


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All rows, and ours in bfloat16 beside the fastest and the default of theirs."""

    model: str
    size: int
    device: str
    threads: int
    tflop: float
    rows: Sequence[Row]
    speedup_vs_peer_best: float
    speedup_vs_peer_default: float
    max_relative_difference: float
    peer_max_relative_difference: float  # of its better setting in bfloat16
    memory_vs_peer_best: float


class _Child:
    """A process that serves one program in one setting."""

    def __init__(self, program: str, setting: Setting, folder: Path) -> None:
        self.program, self.setting = program, setting
        begun = time.perf_counter()
        command = [sys.executable, "-m", _MODULES[program], setting.text(), str(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._read()
        self.import_s = time.perf_counter() - begun
        self.load_s = self._read()["load_s"]
        self.steps: list[dict[str, float]] = []

    def ask(self, order: str) -> dict[str, float]:
        """The answer to one order."""
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, told = self._process.communicate()
            raise BenchError(f"{self.program} ended: {(told.strip().splitlines() or ['without a word'])[-1]}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def _children(wanted: Sequence[tuple[str, Setting]], folder: Path, say: Say) -> Iterator[list[_Child]]:
    with ExitStack() as stack:
        begun = []
        for program, setting in wanted:
            say(f"loading {program} in {setting.dtype}")
            begun.append(_Child(program, setting, folder))
            stack.callback(begun[-1].end)
        yield begun


def compare(setting: Setting, *, repeats: int, compiled: bool, say: Say) -> Report:
    """The report of a model, size and device; `say` is told of what begins. BenchError if a process fails."""
    short = replace(setting, dtype="bfloat16")
    last = replace(short, channels_last=True)
    groups = [
        [(THEIRS, setting), (OURS, setting)],  # the first is what all are compared with
        [(OURS, last), (THEIRS, short), (THEIRS, last)] + [(THEIRS, replace(last, compiled=True))] * compiled,
    ]
    operations, rows = flop(setting), []
    with TemporaryDirectory(prefix="scorefield-bench-") as name:
        folder = Path(name)
        say("drawing weights")
        write_weights(setting.model, folder)
        write_config(UNETS[setting.model], folder)
        for group in groups:
            with _children(group, folder, say) as children:
                say(f"{repeats} steps of each, in turn")
                for _ in range(repeats + 1):  # the first warms up
                    for child in children:
                        child.steps.append(child.ask("step"))
                rows += _rows(children, folder, operations)
    return _report(setting, rows, operations)


def _rows(children: Sequence[_Child], folder: Path, operations: int) -> list[Row]:
    made = []
    for child in children:
        best = min(child.steps[1:], key=lambda step: step["step_s"])
        plain = _difference(child, folder, "plain")
        child.ask("peak")
        made.append(
            Row(
                program=child.program,
                dtype=child.setting.dtype,
                channels_last=child.setting.channels_last,
                compiled=child.setting.compiled,
                step_s=best["step_s"],
                cpu_s=min(step["cpu_s"] for step in child.steps[1:]),
                gflop_per_s=operations / best["step_s"] / 1e9,
                load_s=child.load_s,
                import_s=child.import_s,
                relative_difference=plain,
                peaked_relative_difference=_difference(child, folder, "peaked"),
                memory_bytes=int(child.ask("memory")["memory_bytes"]),
            )
        )
    return made


def _difference(child: _Child, folder: Path, kind: str) -> float:
    """How far this answer is from that of the first child, which is diffusers in float32."""
    path, first = folder / "answer.pt", folder / f"{kind}.pt"
    child.ask(f"answer {path}")
    if not first.exists():
        path.replace(first)
        path = first
    answer, exact = (torch.load(at, weights_only=True) for at in (path, first))
    if not answer.isfinite().all():
        raise BenchError(f"{child.program} in {child.setting.dtype} made values that are not finite")
    return float((answer - exact).norm() / exact.norm())


def _report(setting: Setting, rows: Sequence[Row], operations: int) -> Report:
    ours = next(row for row in rows if row.program == OURS and row.dtype == "bfloat16")
    theirs = [row for row in rows if row.program == THEIRS]
    best = min(theirs, key=lambda row: row.step_s)
    return Report(
        model=setting.model,
        size=setting.size,
        device=setting.device,
        threads=torch.get_num_threads(),
        tflop=operations / 1e12,
        rows=rows,
        speedup_vs_peer_best=best.step_s / ours.step_s,
        speedup_vs_peer_default=theirs[0].step_s / ours.step_s,
        max_relative_difference=_worse(ours),
        peer_max_relative_difference=min(map(_worse, (row for row in theirs if row.dtype == "bfloat16"))),
        memory_vs_peer_best=ours.memory_bytes / best.memory_bytes,
    )


def _worse(row: Row) -> float:
    return max(row.relative_difference, row.peaked_relative_difference)
