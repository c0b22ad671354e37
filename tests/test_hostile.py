"""Hostile input at every door of the command line: no code or program runs, nothing hangs, and one line says why.

`HOSTILE=300 HOSTILE_SEED=7` runs 2,100 cases of another seed; `python -m tests.hostile` runs them with a report.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.hostile.harness import DOORS

ROOT = Path(__file__).parents[1]
COUNT, SEED = os.environ.get("HOSTILE", "10"), os.environ.get("HOSTILE_SEED", "1")

# What the harness has to find, in the place of the program; each door gets a word that says which.
PLANTED = """
import os, sys, time
from pathlib import Path
from tests.hostile import harness

def overwrite():
    Path("whole").write_text("other")
    return 0

acts = {
    "a traceback": lambda: [][1],
    "a crash": lambda: os.abort(),
    "controls a terminal": lambda: print("error: \\x1b[31mwhat is wrong, and what to do") or 1,
    "does not end in one line": lambda: print("oops") or 1,
    "letters": lambda: print("error: no") or 1,
    "os.system": lambda: os.system("true"),
    "subprocess.Popen": lambda: os.popen("true"),
    "socket.getaddrinfo": lambda: __import__("socket").create_connection(("127.0.0.1", 9)),
    "antigravity": lambda: __import__("antigravity"),
    "'alien'": lambda: exec(compile("a = 1", "alien", "exec")),
    "/tmp/elsewhere": lambda: open("/tmp/elsewhere", "w"),
    "changes": overwrite,
    "leaves": lambda: Path(".scorefield-1.part").touch(),
    "fails and leaves": lambda: Path("half").touch() or print("error: what is wrong, and what to do") or 1,
    "hangs": lambda: open("fifo").read(),
    "takes": lambda: len(bytes(400_000_000).replace(b"\\0", b"1")) and 0,
    "out of memory": lambda: print("error: out of memory; draw fewer") or 1,
    "": lambda: 0,
}

def make(rng, here):
    (here / "whole").touch()
    os.mkfifo(here / "fifo")
    return ["x"]

base = Path(sys.argv[1])
harness.DOORS = {"planted": make}
harness._SECONDS = 0.5
cases = harness.Cases(base, 0)
for fault, act in acts.items():
    harness.main.run = lambda args: act() or 0
    found = cases.run("planted", 0).faults
    assert any(fault in line for line in found) if fault else not found, (fault, found)
print("found", len(acts) - 1)
"""


def started(*args: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *args], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def report() -> list[str]:
    """What a run over all doors prints: the cases with faults, and a line of JSON for each door."""
    ended = started("-m", "tests.hostile", "--count", COUNT, "--seed", SEED)
    assert ended.returncode in (0, 1), ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("door", DOORS)
def test_no_hostile_case_does_harm(door: str, report: list[str]) -> None:
    told = {one["door"]: one for one in map(json.loads, (line for line in report if line.startswith("{")))}
    assert "fault" not in told[door], "\n".join(report)
    assert sum(count for name, count in told[door].items() if name.startswith("code ")) == int(COUNT)


def test_the_harness_finds_what_is_planted(tmp_path: Path) -> None:
    ended = started("-c", PLANTED, str(tmp_path))
    assert (ended.stdout, ended.returncode) == ("found 17\n", 0), ended.stderr
