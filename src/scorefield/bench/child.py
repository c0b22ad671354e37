"""The child process that measures one program in one setting: it loads the network, then steps on request."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TextIO, TypeVar

import torch
from torch import Tensor, nn

from scorefield.bench.subjects import Given
from scorefield.bench.task import PEAK, Setting, inputs

N = TypeVar("N", bound=nn.Module)
Step = Callable[..., Tensor]
Peak = Callable[[float], object]  # multiplies all queries by a factor
Load = Callable[[Setting, Path], tuple[Step, Peak]]


def serve(program: Callable[[], Load]) -> None:
    """Import a program, load its network, and answer each line of stdin with a line of JSON, until stdin ends.

    The arguments of the process are a Setting and the folder of the weights. "step" runs a step and answers with its
    wall-clock and CPU seconds, "answer PATH" writes the output of a step, "peak" scales up the queries, and "memory"
    answers with the peak memory.
    """
    answers = sys.stdout
    with redirect_stdout(sys.stderr), torch.no_grad():  # a library's messages must not look like answers
        _serve(program, answers)


def _serve(program: Callable[[], Load], answers: TextIO) -> None:
    setting, folder = Setting.read(sys.argv[1]), Path(sys.argv[2])
    load = program()
    _answer(answers, imported=True)
    begun = time.perf_counter()
    step, peak = load(setting, folder)
    _answer(answers, load_s=time.perf_counter() - begun)
    given = inputs(setting)
    for line in sys.stdin:
        order, _, path = line.strip().partition(" ")
        if order == "step":
            begun, worked = time.perf_counter(), time.process_time()
            _made(step, given)
            _answer(answers, step_s=time.perf_counter() - begun, cpu_s=time.process_time() - worked)
        elif order == "answer":
            torch.backends.cudnn.allow_tf32 = False  # the float32 output is the reference for all
            torch.save(_made(step, given).float().cpu().contiguous(), path)
            _answer(answers, written=path)
        elif order == "peak":
            peak(PEAK)
            _answer(answers, peaked=PEAK)
        else:
            _answer(answers, memory_bytes=_memory(setting))


def prepared(net: N, setting: Setting) -> N:
    """`net`; with `setting.compiled` it is compiled at its first step, for inputs of one size."""
    if setting.compiled:
        net.compile(mode=setting.mode, dynamic=False)
    return net


def _made(step: Step, given: Given) -> Tensor:
    with torch.inference_mode():
        made = step(*given)
    if made.is_cuda:
        torch.cuda.synchronize()
    return made


def _answer(answers: TextIO, **what: object) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def _memory(setting: Setting) -> int:
    if setting.device == "cuda":
        return torch.cuda.max_memory_allocated()
    most = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(most.split()[1]) * 1024
