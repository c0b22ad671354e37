"""How a command ends from outside: by a signal, which leaves nothing behind, and with streams that are closed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file
from tests.test_zoo_convert import done, single
from tests.tiny import TINY

from scorefield.conversion.plan import conversion

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src"), "OMP_NUM_THREADS": "1"}

COMMAND = """
import os, sys, time
from pathlib import Path
import click
from scorefield import atomic

@click.command("slow")
def command():
    try:
        with atomic.staged(Path("new/folder")) as part, atomic.staged_folder(Path("whole")) as folder:
            part.write_bytes(b"half")
            (folder / "half").write_bytes(b"half")
            print("ready", flush=True)
            time.sleep(60)
    finally:
        time.sleep(0.5)
        Path("cleaned").write_text("")
"""
DRIVER = """
import signal, sys
sys.path.insert(0, ".")
from scorefield.cli import main
main.COMMANDS["slow"] = main.Command("slow_command", "Wait.")
{before}
main.main()
"""


def started(folder: Path, before: str = "") -> "subprocess.Popen[str]":
    (folder / "slow_command.py").write_text(COMMAND)
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", DRIVER.format(before=before), "slow"],
        env=ENVIRONMENT, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_end_is_one_line_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    process = started(tmp_path, "signal.signal(signal.SIGINT, signal.default_int_handler)")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (128 + number, "", "error: interrupted\n")
    assert sorted(os.listdir(tmp_path)) == ["cleaned", "slow_command.py"]


def test_a_second_signal_does_not_interrupt_the_cleaning_up(tmp_path: Path) -> None:
    process = started(tmp_path)
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert sorted(os.listdir(tmp_path)) == ["cleaned", "slow_command.py"]


def test_a_signal_that_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    process = started(tmp_path, "signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM


def test_the_handlers_of_a_program_that_runs_a_command_are_left_as_they_were() -> None:
    code = (
        "import signal; from scorefield.cli import main; main.run(['--version']); "
        "print([signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)] == [signal.SIG_DFL] * 2)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("True\n")


FIRST_FILE = """
import os
import click

@click.command("slow")
def command():
    with open("result", "w") as file:
        click.echo("a note", err=True)
        os.write(2, b"a word of some library")
        file.write("the result")
    click.echo("done")
"""


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">&-"])
def test_what_is_said_to_a_closed_stream_does_not_land_in_a_file(tmp_path: Path, closed: str) -> None:
    (tmp_path / "slow_command.py").write_text(FIRST_FILE)
    (tmp_path / "driver.py").write_text(DRIVER.format(before=""))
    done = subprocess.run(["/bin/sh", "-c", f"{sys.executable} driver.py slow {closed}"], env=ENVIRONMENT, cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "result").read_text() == "the result"


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-"])
def test_generate_with_closed_streams_still_writes_its_picture(tmp_path: Path, closed: str) -> None:
    line = f"{sys.executable} -m scorefield generate 'a tree in the desert' --steps 1 --sheet {closed}"
    done = subprocess.run(["/bin/sh", "-c", line], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, check=True)
    names = ["a-tree-in-the-desert-0-sheet.png", "a-tree-in-the-desert-0.png"]
    assert sorted(os.listdir(tmp_path)) == names
    for name in names:
        Image.open(tmp_path / name).load()
    assert done.stdout.decode().split() == ([] if ">&- 2" in closed else [names[1], names[0]])


def test_eval_with_a_closed_stderr_still_says_its_result(tmp_path: Path) -> None:
    line = f"{sys.executable} -m scorefield eval adherence --model renders --count 1 --tasks two --format json 2>&-"
    done = subprocess.run(["/bin/sh", "-c", line], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout)


def test_train_with_closed_streams_still_saves_its_run(tmp_path: Path) -> None:
    recipe = Path(__file__).parents[1] / "recipes" / "tiny.py"
    line = f"{sys.executable} -m scorefield train {recipe} --output run --device cpu --steps 2 >&- 2>&-"
    subprocess.run(["/bin/sh", "-c", line], env=ENVIRONMENT, cwd=tmp_path, check=True)
    assert {"log.jsonl", "state.safetensors", "tiny.safetensors"} <= set(os.listdir(tmp_path / "run"))


def test_convert_with_closed_streams_still_writes_its_model(tmp_path: Path) -> None:
    single(tmp_path / "x.safetensors", TINY)
    done(conversion(tmp_path / "x.safetensors", to="diffusers", networks=TINY, prediction="eps"), tmp_path / "folder")
    line = f"{sys.executable} -m scorefield convert folder made.safetensors >&- 2>&-"
    subprocess.run(["/bin/sh", "-c", line], env=ENVIRONMENT, cwd=tmp_path, check=True)
    assert load_file(tmp_path / "made.safetensors")
