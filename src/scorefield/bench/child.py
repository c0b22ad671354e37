"""A process of its own for one program in one setting: it loads, tells what that took, and steps when it is told."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TextIO, TypeVar

import torch
from torch import Tensor, nn

from scorefield.bench.task import PEAK, Setting, inputs

N = TypeVar("N", bound=nn.Module)
Step = Callable[[Tensor, Tensor, Tensor], Tensor]
Peak = Callable[[float], object]  # makes all queries so many times as large
Load = Callable[[Setting, Path], tuple[Step, Peak]]


def serve(program: Callable[[], Load]) -> None:
    """Import a program, load its network, and answer each line of stdin with a line of JSON, until there are no more.

    The process is called with a Setting and the folder of the weights. "step" makes a step and answers with its
    seconds, by the clock and of the processors, "answer PATH" writes what it makes, "peak" makes the queries larger,
    "memory" tells the most that was held.
    """
    answers = sys.stdout
    with redirect_stdout(sys.stderr), torch.no_grad():  # what a library prints is no answer
        _serve(program, answers)


def _serve(program: Callable[[], Load], answers: TextIO) -> None:
    setting, folder = Setting.read(sys.argv[1]), Path(sys.argv[2])
    load = program()
    _tell(answers, imported=True)
    begun = time.perf_counter()
    step, peak = load(setting, folder)
    _tell(answers, load_s=time.perf_counter() - begun)
    given = inputs(setting)
    for line in sys.stdin:
        order, _, path = line.strip().partition(" ")
        if order == "step":
            begun, worked = time.perf_counter(), time.process_time()
            _made(step, given)
            _tell(answers, step_s=time.perf_counter() - begun, cpu_s=time.process_time() - worked)
        elif order == "answer":
            torch.backends.cudnn.allow_tf32 = False  # one of them is that in float32, which all are compared with
            torch.save(_made(step, given).float().cpu().contiguous(), path)
            _tell(answers, written=path)
        elif order == "peak":
            peak(PEAK)
            _tell(answers, peaked=PEAK)
        else:
            _tell(answers, memory_bytes=_memory(setting))


def prepared(net: N, setting: Setting) -> N:
    """`net`, which is compiled at its first step if the setting says so: for inputs of one size alone."""
    if setting.compiled:
        net.compile(mode=setting.mode, dynamic=False)
    return net


def _made(step: Step, given: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    with torch.inference_mode():
        made = step(*given)
    if made.is_cuda:
        torch.cuda.synchronize()
    return made


def _tell(answers: TextIO, **what: object) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def _memory(setting: Setting) -> int:
    if setting.device == "cuda":
        return torch.cuda.max_memory_allocated()
    most = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(most.split()[1]) * 1024
