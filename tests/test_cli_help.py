"""The front door: every --help runs, and what is light stays light.

Times are the processor's, of a fresh interpreter, the best of several: on an idle machine they are the clock's, since
nothing here waits or runs in parallel, and a busy neighbour does not change them.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

from scorefield.cli.generate import command as generate
from scorefield.cli.main import COMMANDS, group

COMMAND = str(Path(sys.executable).parent / "scorefield")
ROUNDS = 10


def seconds(command: Sequence[str]) -> float:
    """User and system time of one run, which must succeed."""
    process = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, 1, 0)])
    _, status, usage = os.wait4(process, 0)
    assert status == 0, command
    return usage.ru_utime + usage.ru_stime


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of a command and of all below it."""
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, name
            yield from commands(below, (*words, name))


@pytest.mark.parametrize("words", list(commands(group)), ids=" ".join)
def test_every_help_runs(words: tuple[str, ...]) -> None:
    done = subprocess.run([COMMAND, *words, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("Usage: scorefield")
    assert "--help" in done.stdout


def test_the_help_lists_every_command() -> None:
    done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.split("Commands:")[1].splitlines() if line.strip()}
    assert set(COMMANDS) <= listed


def test_the_help_of_generate_has_every_option_below_its_heading() -> None:
    done = subprocess.run([COMMAND, "generate", "--help"], capture_output=True, text=True, check=True)
    below = {
        heading: done.stdout.index(f"\n{heading}:\n")
        for heading in [*dict.fromkeys(generate.headings.values()), generate.last]
    }
    assert list(below.values()) == sorted(below.values())
    for option, heading in {
        "--image-prompt": "Words", "--lora": "Model", "--noise": "Walk", "--size": "Size and number",
        "--mask": "Start from a picture", "--device": "Machine", "--overwrite": "Files and messages",
    }.items():  # fmt: skip
        place = re.search(rf"\n  {option}[ ,]", done.stdout).start()  # type: ignore[union-attr]
        assert max(below, key=lambda one: (below[one] < place) * below[one]) == heading, option


def test_the_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from scorefield.cli.main import run; assert run(['--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pydantic', 'safetensors', 'tokenizers', 'tqdm', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_help_takes_three_tenths_of_a_second_at_most() -> None:
    times: list[float] = []
    while len(times) < ROUNDS and min(times, default=1.0) > 0.3:
        times.append(seconds([COMMAND, "--help"]))
    assert min(times) <= 0.3, times


def test_the_import_costs_no_more_than_torch_and_two_tenths_of_a_second() -> None:
    ours: list[float] = []
    torch: list[float] = []
    while len(ours) < ROUNDS and min(ours, default=10.0) > min(torch, default=0.0) + 0.2:
        ours.append(seconds([sys.executable, "-c", "import scorefield"]))
        torch.append(seconds([sys.executable, "-c", "import torch"]))
    assert min(ours) <= min(torch) + 0.2, (ours, torch)
