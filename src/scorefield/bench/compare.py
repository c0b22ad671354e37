"""Compare two programs: one process for each setting, stepping in turn."""

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

from scorefield.bench.subjects import SUBJECTS
from scorefield.bench.task import HALF, Setting, flop, write_weights
from scorefield.bench.theirs import write_config
from scorefield.errors import MachineError

OURS, THEIRS = "scorefield", "diffusers"
# Steps. On a GPU, compiled code first runs, then records a CUDA graph, then replays it.
_WARM_UP = {"cpu": 1, "cuda": 3}
_MODULES = {OURS: "scorefield.bench.ours", THEIRS: "scorefield.bench.theirs"}

Say = Callable[[str], object]


class BenchError(MachineError):
    """A process ended without an answer; the message is its last error, or its last line of output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The measurements of one program in one setting; differences are relative, in norm, to diffusers in float32."""

    program: str
    dtype: str
    channels_last: bool
    compiled: bool
    step_s: float  # of the fastest step
    cpu_s: float  # least CPU time of a step, over all cores
    gflop_per_s: float
    memory_bytes: int  # peak of the process, or of its tensors on a GPU
    load_s: float
    import_s: float  # from the start of the process, torch included
    relative_difference: float
    peaked_relative_difference: float  # with queries 4 times as large


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All rows, and ratios of our rows in half precision to theirs; their best includes compiled rows."""

    model: str
    size: int
    device: str
    processor: str  # the name of the GPU
    threads: int
    tflop: float
    rows: Sequence[Row]
    speedup_vs_peer_best: float  # ours not compiled
    speedup_vs_peer_default: float
    speedup_vs_peer_eager: float  # both not compiled
    float32_speedup: float
    compiled_speedup_vs_peer_compiled: float | None  # both compiled; None if nothing was
    compiled_speedup_vs_peer_eager: float | None
    max_relative_difference: float
    peer_max_relative_difference: float  # the smaller of its two settings in half precision
    memory_vs_peer_best: float


class _Child:
    """A child process, which runs one program in one setting."""

    def __init__(self, program: str, setting: Setting, folder: Path) -> None:
        self.program, self.setting = program, setting
        begun = time.perf_counter()
        command = [sys.executable, "-m", _MODULES[program], setting.text(), str(folder)]
        # A file, not a pipe: nobody reads while the child runs, and the compiler prints more than a pipe holds.
        with NamedTemporaryFile(dir=folder, delete=False) as log:
            self._log = Path(log.name)
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._read()
        self.import_s = time.perf_counter() - begun
        self.load_s = self._read()["load_s"]
        self.steps: list[dict[str, float]] = []

    def ask(self, request: str) -> dict[str, float]:
        """Send one request and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise BenchError(f"{self.program} ended: {_last_words(self._log.read_text(errors='replace'))}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()


def _last_words(output: str) -> str:
    """The line of a process's output with its error, which is not always the last: torch prints advice after it."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    return (errors or lines or ["no message"])[-1].strip()


@contextmanager
def _children(wanted: Sequence[tuple[str, Setting]], folder: Path, say: Say) -> Iterator[list[_Child]]:
    with ExitStack() as stack:
        begun = []
        for program, setting in wanted:
            extra = ", which compiles at its first step" * setting.compiled
            say(f"loading {program} in {setting.dtype}{extra}")
            begun.append(_Child(program, setting, folder))
            stack.callback(begun[-1].end)
        yield begun


def compare(setting: Setting, *, repeats: int, compiled: bool, say: Say) -> Report:
    """The report for a model, size and device; `say` gets a line of progress. BenchError if a process fails."""
    half = replace(setting, dtype=HALF[setting.device])
    last = replace(half, channels_last=True)
    groups = [
        [(THEIRS, setting), (OURS, setting)],  # the first is the reference
        [(OURS, last), (THEIRS, half), (THEIRS, last)],
    ]
    if compiled:
        groups[-1] += [(program, replace(last, compiled=True)) for program in (OURS, THEIRS)]
    operations, rows = flop(setting), []
    with TemporaryDirectory(prefix="scorefield-bench-") as name:
        folder = Path(name)
        say("writing random weights")
        write_weights(setting.model, folder)
        write_config(SUBJECTS[setting.model], folder)
        for group in groups:
            with _children(group, folder, say) as children:
                for _ in range(_WARM_UP[setting.device]):
                    for child in children:
                        child.ask("step")
                say(f"{repeats} steps of each setting, in turn")
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
    """The relative difference of this child's output from the first child's, which is diffusers in float32."""
    path, first = folder / "answer.pt", folder / f"{kind}.pt"
    child.ask(f"answer {path}")
    if not first.exists():
        path.replace(first)
        path = first
    answer, exact = (torch.load(at, weights_only=True) for at in (path, first))
    if not answer.isfinite().all():
        raise BenchError(f"{child.program} in {child.setting.dtype} computed values that are not finite")
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
        float32_speedup=theirs[0].step_s
        / _fastest(row for row in rows if row.program == OURS and row.dtype != half).step_s,
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
