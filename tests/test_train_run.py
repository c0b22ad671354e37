"""A run in a folder: kill, interrupt, resume, lengthen, and the lines it prints when something is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from scorefield.cli.train import command
from scorefield.train import run, state

Begin = Callable[..., "subprocess.Popen[str]"]
ROOT = Path(__file__).parents[1]
TINY = str(ROOT / "recipes" / "tiny.py")


def arguments(folder: Path, *more: str) -> list[str]:
    return [TINY, "--output", str(folder), "--device", "cpu", *more]


def invoke(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(command, arguments(folder, *more))


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a run in a process of its own, which ends with the test at the latest."""
    begun: list[subprocess.Popen[str]] = []

    def start(folder: Path, *more: str) -> "subprocess.Popen[str]":
        begun.append(_begin(folder, *more))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def _begin(folder: Path, *more: str) -> "subprocess.Popen[str]":
    code = "from scorefield.cli.train import command; command()"
    line = [sys.executable, "-c", code, *arguments(folder, "--save-every-minutes", "0.001", *more)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def wait_for_state(process: "subprocess.Popen[str]", folder: Path, step: int = 0) -> None:
    end, path = time.monotonic() + 300, folder / "state.safetensors"
    while not path.exists() or state.read(path)[0].step < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "no state was saved in five minutes"
        time.sleep(0.01)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    _, held = state.read(path)
    return held


def assert_same(one: Path, two: Path) -> None:
    first, second = tensors(one / "state.safetensors"), tensors(two / "state.safetensors")
    assert first.keys() == second.keys()
    assert all(value.isfinite().all() for value in first.values())
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert_equal_files(one / "tiny.safetensors", two / "tiny.safetensors")


def assert_equal_files(one: Path, two: Path) -> None:
    first, second = load_file(one), load_file(two)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.fixture
def threads_put_back() -> Iterator[None]:
    """The command sets torch's threads for its process, which here is the tests'."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads_put_back")
def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path, begin: Begin) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = begin(killed, "--steps", "600")
    wait_for_state(process, killed, step=2 * run.Options.log_every)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    header, _ = state.read(killed / "state.safetensors")
    assert header.step < 600
    assert not (killed / "tiny.safetensors").exists()
    (killed / "log.jsonl").unlink()
    for folder in (killed, whole):
        result = invoke(folder, "--steps", "600", "--threads", "1")
        assert result.exit_code == 0, result.output
        assert result.output.strip() == str(folder / "tiny.safetensors")
    assert_same(whole, killed)
    steps = [json.loads(line)["step"] for line in (killed / "log.jsonl").read_text().splitlines()]
    assert header.step < steps[0]  # what was done before was not done again
    assert steps == sorted(steps)
    assert steps[-1] == 600


def test_a_second_run_is_refused_and_ctrl_c_saves_the_step_it_names_and_exits_130(tmp_path: Path, begin: Begin) -> None:
    process = begin(tmp_path, "--steps", "100000")
    wait_for_state(process, tmp_path)
    second = invoke(tmp_path)
    assert process.poll() is None
    assert second.exit_code == 1
    assert second.output == f"Error: another run is training in {tmp_path}; choose another --output\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    header, _ = state.read(tmp_path / "state.safetensors")
    assert process.returncode == 130
    assert told.strip() == f"stopped after step {header.step}; the same command goes on from there"
    assert not list(tmp_path.glob("*.part"))


def test_a_run_made_longer_equals_one_that_was_long_from_the_start(tmp_path: Path) -> None:
    grown, long = tmp_path / "grown", tmp_path / "long"
    assert invoke(grown, "--steps", "80").exit_code == 0
    result = invoke(grown, "--steps", "120")
    assert "goes on from step 60" in result.output
    assert invoke(long, "--steps", "120").exit_code == 0
    assert_same(grown, long)


def test_another_setting_is_refused_unless_told_to_go_on(tmp_path: Path) -> None:
    assert invoke(tmp_path, "--steps", "20").exit_code == 0
    changed = ("--set", "lr=0.5", "--steps", "25")
    refused = invoke(tmp_path, *changed)
    assert refused.exit_code == 1
    assert "lr 0.01 -> 0.5" in refused.output
    assert len(refused.output.splitlines()) == 1
    assert invoke(tmp_path, *changed, "--resume").exit_code == 0
    header, _ = state.read(tmp_path / "state.safetensors")
    assert (header.step, header.settings["lr"]) == (25, "0.5")


def test_fresh_starts_again(tmp_path: Path) -> None:
    assert invoke(tmp_path / "a", "--steps", "20", "--set", "seed=1").exit_code == 0
    assert invoke(tmp_path / "a", "--steps", "20", "--set", "seed=2", "--fresh").exit_code == 0
    assert invoke(tmp_path / "b", "--steps", "20", "--set", "seed=2").exit_code == 0
    assert_same(tmp_path / "a", tmp_path / "b")


def test_finish_writes_the_weights_of_the_newest_state_and_trains_nothing(tmp_path: Path) -> None:
    assert invoke(tmp_path, "--steps", "20").exit_code == 0
    before = (tmp_path / "state.safetensors").read_bytes()
    (tmp_path / "tiny.safetensors").rename(tmp_path / "first.safetensors")
    result = invoke(tmp_path, "--finish")
    assert result.output.strip() == str(tmp_path / "tiny.safetensors")
    assert_equal_files(tmp_path / "first.safetensors", tmp_path / "tiny.safetensors")
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_finish_without_a_state_says_so(tmp_path: Path) -> None:
    result = invoke(tmp_path, "--finish")
    assert (result.exit_code, result.output) == (
        1,
        f"Error: {tmp_path}/state.safetensors does not exist; train first\n",
    )


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "alien"])
def test_a_damaged_state_is_one_line(tmp_path: Path, damage: str) -> None:
    assert invoke(tmp_path, "--steps", "5").exit_code == 0
    path = tmp_path / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    other = (tmp_path / "tiny.safetensors").read_bytes()
    path.write_bytes({"cut": bytes(data[:-30]), "flipped": bytes(data), "empty": b"", "alien": other}[damage])
    result = invoke(tmp_path, "--steps", "5")
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert result.output.startswith(f"Error: {path} is damaged")
    assert "--fresh" in result.output


def test_an_unknown_recipe_lists_the_nearest() -> None:
    result = CliRunner().invoke(command, ["tinny"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: no recipe 'tinny'; nearest: tiny")


@pytest.mark.parametrize(
    ("given", "told"),
    [("widht=3", "no setting 'widht'; nearest: width"), ("width=x", "setting width='x'"), ("width", "name=value")],
)
def test_a_bad_setting_is_one_clear_line(tmp_path: Path, given: str, told: str) -> None:
    result = invoke(tmp_path, "--set", given)
    assert result.exit_code != 0
    assert told in result.output.splitlines()[-1]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke(tmp_path / "file" / "run")
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    path = tmp_path / "sick.py"
    tiny = Path(TINY).read_text()
    sick = tiny.replace("return error, {", "return error / (batch['x'][0, 0] != make(range(96, 97))['x'][0, 0]), {")
    assert sick != tiny
    path.write_text(sick)
    result = CliRunner().invoke(command, [str(path), "--output", str(tmp_path / "run"), "--device", "cpu"])
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert result.output.startswith("Error: step 4: loss inf")
