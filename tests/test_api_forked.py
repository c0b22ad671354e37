"""Forked processes: each draws with one thread, is told so with several, or has threads of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from docs.notebooks.tiny_stable import tiny_stable

ROOT = Path(__file__).parents[1]
BEGIN = """
import os, sys, threading, warnings
import torch
import scorefield as sf
warnings.simplefilter("ignore")
torch.set_num_threads(2)
load = lambda: sf.load(sys.argv[1], device="cpu")
draw = lambda pipe: pipe("a tree", steps=1, seed=1, size=64).image.tobytes()
pipe = load()

def forked(act):
    child = os.fork()
    if child == 0:
        try:
            os._exit(act())
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(70)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable(tmp_path_factory.mktemp("forked") / "tiny")


def run(model: Path, script: str) -> list[str]:
    """The lines that a script prints; it must end well within a minute."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    ended = subprocess.run(
        [sys.executable, "-c", BEGIN + script, str(model)],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return ended.stdout.splitlines()


@pytest.mark.parametrize("work", ["draw(pipe)", "load()"])
def test_with_several_threads_it_says_what_to_do_and_does_not_wait_for_ever(model: Path, work: str) -> None:
    (line, code) = run(model, f"print(forked(lambda: {work}))")
    assert line.startswith("MachineError this process was forked from one that has loaded a model or drawn")
    assert "torch.set_num_threads(1)" in line
    assert code == "70"


def test_with_one_thread_it_draws_what_its_parent_draws_with_one(model: Path) -> None:
    script = """
one = lambda: torch.set_num_threads(1) or draw(pipe)
mine, (reads, writes) = None, os.pipe()
code = forked(lambda: os.write(writes, one()) and 0)
print(code, os.read(reads, 10**6) == one())
"""
    assert run(model, script) == ["0 True"]


def test_a_thread_of_its_own_draws_with_several(model: Path) -> None:
    script = """
def act():
    drawn = []
    thread = threading.Thread(target=lambda: drawn.append(draw(pipe)))
    thread.start()
    thread.join()
    return 0 if drawn else 1
print(forked(act))
"""
    assert run(model, script) == ["0"]


def test_models_are_loaded_by_several_readers(model: Path) -> None:
    script = """
def act():
    torch.set_num_threads(1)
    load()
    return 0
print([forked(act) for _ in range(8)])
"""
    assert run(model, script) == [str([0] * 8)]
