"""Both programs side by side: one process for each setting, and their steps in turn."""

import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import torch

from scorefield.bench.task import HALF, UNETS, Setting, flop, write_weights
from scorefield.bench.theirs import write_config
from scorefield.errors import MachineError

OURS, THEIRS = "scorefield", "diffusers"
_WARM_UP = {"cpu": 1, "cuda": 3}  # steps: on a GPU compiled code is first run, then recorded, then played
_MODULES = {OURS: "scorefield.bench.ours", THEIRS: "scorefield.bench.theirs"}

Say = Callable[[str], object]


class BenchError(MachineError):
    """A process that ended before its answer; the message is its last error, or else its last line."""


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
    """All rows, and ours in half precision beside theirs; their best is of all their rows, compiled or not."""

    model: str
    size: int
    device: str
    processor: str  # a GPU's name
    threads: int
    tflop: float
    rows: Sequence[Row]
    speedup_vs_peer_best: float  # ours not compiled
    speedup_vs_peer_default: float
    speedup_vs_peer_eager: float  # both not compiled
    compiled_speedup_vs_peer_compiled: float | None  # both compiled; None if nothing was
    compiled_speedup_vs_peer_eager: float | None
    max_relative_difference: float
    peer_max_relative_difference: float  # of its better setting in half precision
    memory_vs_peer_best: float


class _Child:
    """A process that serves one program in one setting."""

    def __init__(self, program: str, setting: Setting, folder: Path) -> None:
        self.program, self.setting = program, setting
        begun = time.perf_counter()
        command = [sys.executable, "-m", _MODULES[program], setting.text(), str(folder)]
        # A file, because nobody reads it meanwhile: the compiler tells more of its trials than a pipe holds.
        with NamedTemporaryFile(dir=folder, delete=False) as told:
            self._told = Path(told.name)
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told, text=True
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
            self._process.communicate()
            raise BenchError(f"{self.program} ended: {_last_words(self._told.read_text(errors='replace'))}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def _last_words(told: str) -> str:
    """The line that says why a process ended: torch puts advice behind its errors."""
    lines = [line for line in told.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    return (errors or lines or ["without a word"])[-1].strip()


@contextmanager
def _children(wanted: Sequence[tuple[str, Setting]], folder: Path, say: Say) -> Iterator[list[_Child]]:
    with ExitStack() as stack:
        begun = []
        for program, setting in wanted:
            extra = ", to be compiled at its first step" * setting.compiled
            say(f"loading {program} in {setting.dtype}{extra}")
            begun.append(_Child(program, setting, folder))
            stack.callback(begun[-1].end)
        yield begun


def compare(setting: Setting, *, repeats: int, compiled: bool, say: Say) -> Report:
    """The report of a model, size and device; `say` is told of what begins. BenchError if a process fails."""
    half = replace(setting, dtype=HALF[setting.device])
    last = replace(half, channels_last=True)
    groups = [
        [(THEIRS, setting), (OURS, setting)],  # the first is what all are compared with
        [(OURS, last), (THEIRS, half), (THEIRS, last)],
    ]
    if compiled:
        groups[-1] += [(program, replace(last, compiled=True)) for program in (OURS, THEIRS)]
    operations, rows = flop(setting), []
    with TemporaryDirectory(prefix="scorefield-bench-") as name:
        folder = Path(name)
        say("drawing weights")
        write_weights(setting.model, folder)
        write_config(UNETS[setting.model], folder)
        for group in groups:
            with _children(group, folder, say) as children:
                for _ in range(_WARM_UP[setting.device]):
                    for child in children:
                        child.ask("step")
                say(f"{repeats} steps of each, in turn")
                for _ in range(repeats):
                    for child in children:
                        child.steps.append(child.ask("step"))
                rows += _rows(children, folder, operations)
    return _report(setting, rows, operations)


def _rows(children: Sequence[_Child], folder: Path, operations: int) -> list[Row]:
    made = []
    for child in children:
        best = min(child.steps, key=lambda step: step["step_s"])
        plain = _difference(child, folder, "plain")
        memory = int(child.ask("memory")["memory_bytes"])  # before "peak", which unpacks packed weights
        child.ask("peak")
        made.append(
            Row(
                program=child.program,
                dtype=child.setting.dtype,
                channels_last=child.setting.channels_last,
                compiled=child.setting.compiled,
                step_s=best["step_s"],
                cpu_s=min(step["cpu_s"] for step in child.steps),
                gflop_per_s=operations / best["step_s"] / 1e9,
                load_s=child.load_s,
                import_s=child.import_s,
                relative_difference=plain,
                peaked_relative_difference=_difference(child, folder, "peaked"),
                memory_bytes=memory,
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
    half = HALF[setting.device]
    ours = _fastest(row for row in rows if row.program == OURS and row.dtype == half and not row.compiled)
    theirs = [row for row in rows if row.program == THEIRS]
    best, eager = _fastest(theirs), _fastest(row for row in theirs if not row.compiled)
    compiled = {row.program: row.step_s for row in rows if row.compiled}
    return Report(
        model=setting.model,
        size=setting.size,
        device=setting.device,
        processor=torch.cuda.get_device_name() if setting.device == "cuda" else platform.machine(),
        threads=torch.get_num_threads(),
        tflop=operations / 1e12,
        rows=rows,
        speedup_vs_peer_best=best.step_s / ours.step_s,
        speedup_vs_peer_default=theirs[0].step_s / ours.step_s,
        speedup_vs_peer_eager=eager.step_s / ours.step_s,
        compiled_speedup_vs_peer_compiled=compiled[THEIRS] / compiled[OURS] if compiled else None,
        compiled_speedup_vs_peer_eager=eager.step_s / compiled[OURS] if compiled else None,
        max_relative_difference=_worse(ours),
        peer_max_relative_difference=min(map(_worse, (row for row in theirs if row.dtype == half))),
        memory_vs_peer_best=ours.memory_bytes / best.memory_bytes,
    )


def _fastest(rows: Iterable[Row]) -> Row:
    return min(rows, key=lambda row: row.step_s)


def _worse(row: Row) -> float:
    return max(row.relative_difference, row.peaked_relative_difference)
