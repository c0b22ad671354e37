"""A run in a folder: kill, interrupt, resume, lengthen, and the lines it prints when something is wrong."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from recipes.tiny import recipe as tiny
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch._inductor.exc import InvalidCxxCompiler

from scorefield.cli.main import run as main
from scorefield.train import run, state

Begin = Callable[..., "subprocess.Popen[str]"]
ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TINY = str(ROOT / "recipes" / "tiny.py")


def arguments(folder: Path, *more: str, recipe: str = TINY) -> list[str]:
    return [recipe, "--output", str(folder), "--device", "cpu", *more]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what went wrong."""
        assert self.out == ""
        (line,) = self.err.splitlines()
        return line.removeprefix("error: ")


def train(*words: str) -> Ended:
    """The command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["train", *words])
    return Ended(code, out.getvalue(), err.getvalue())


def invoke(folder: Path, *more: str) -> Ended:
    return train(*arguments(folder, *more))


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a run in a process of its own, which ends with the test at the latest."""
    begun: list[subprocess.Popen[str]] = []

    def start(folder: Path, *more: str, recipe: str = TINY) -> "subprocess.Popen[str]":
        begun.append(_begin(folder, *more, recipe=recipe))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def _begin(folder: Path, *more: str, recipe: str) -> "subprocess.Popen[str]":
    code = "from scorefield.cli.main import main; main()"
    line = [
        sys.executable,
        "-c",
        code,
        "train",
        *arguments(folder, "--save-every-minutes", "0.001", *more, recipe=recipe),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def wait_until(there: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 300
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen in five minutes"
        time.sleep(0.01)


def wait_for_state(process: "subprocess.Popen[str]", folder: Path, step: int = 0) -> None:
    path = folder / "state.safetensors"
    wait_until(lambda: path.exists() and state.read_header(path).step >= step, process)


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
        assert result == (
            0,
            f"{folder / 'tiny.safetensors'}\n",
            "step 600: measuring and writing the averaged weights\n",
        )
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
    assert second.code == 2
    assert second.error == f"another run is training in {tmp_path}; choose another --output"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    header, _ = state.read(tmp_path / "state.safetensors")
    assert process.returncode == 130
    assert err.strip() == f"stopped after step {header.step}; the same command resumes from there"
    assert not list(tmp_path.glob("*.part"))


def test_a_run_made_longer_equals_one_that_was_long_from_the_start(tmp_path: Path) -> None:
    grown, long = tmp_path / "grown", tmp_path / "long"
    assert invoke(grown, "--steps", "80").code == 0
    result = invoke(grown, "--steps", "120")
    assert "resumes from step 60" in result.err
    assert invoke(long, "--steps", "120").code == 0
    assert_same(grown, long)


def test_another_setting_is_refused_unless_the_run_is_resumed(tmp_path: Path) -> None:
    assert invoke(tmp_path, "--steps", "20").code == 0
    changed = ("--set", "lr=0.5", "--steps", "25")
    refused = invoke(tmp_path, *changed)
    assert refused.code == 2
    assert "lr 0.01 -> 0.5" in refused.error
    assert invoke(tmp_path, *changed, "--resume").code == 0
    header, _ = state.read(tmp_path / "state.safetensors")
    assert (header.step, header.settings["lr"]) == (25, "0.5")


def test_fresh_starts_again(tmp_path: Path) -> None:
    assert invoke(tmp_path / "a", "--steps", "20", "--set", "seed=1").code == 0
    assert invoke(tmp_path / "a", "--steps", "20", "--set", "seed=2", "--fresh").code == 0
    assert invoke(tmp_path / "b", "--steps", "20", "--set", "seed=2").code == 0
    assert_same(tmp_path / "a", tmp_path / "b")


def test_finish_writes_the_weights_of_the_newest_state_and_trains_nothing(tmp_path: Path) -> None:
    assert invoke(tmp_path, "--steps", "20").code == 0
    before = (tmp_path / "state.safetensors").read_bytes()
    (tmp_path / "tiny.safetensors").rename(tmp_path / "first.safetensors")
    result = invoke(tmp_path, "--finish")
    assert result.out.strip() == str(tmp_path / "tiny.safetensors")
    assert_equal_files(tmp_path / "first.safetensors", tmp_path / "tiny.safetensors")
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_finish_without_a_state_says_so(tmp_path: Path) -> None:
    result = invoke(tmp_path, "--finish")
    assert (result.code, result.error) == (1, f"{tmp_path}/state.safetensors does not exist; train first")


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "alien"])
def test_a_damaged_state_is_one_line(tmp_path: Path, damage: str) -> None:
    assert invoke(tmp_path, "--steps", "5").code == 0
    path = tmp_path / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    other = (tmp_path / "tiny.safetensors").read_bytes()
    path.write_bytes({"cut": bytes(data[:-30]), "flipped": bytes(data), "empty": b"", "alien": other}[damage])
    result = invoke(tmp_path, "--steps", "5")
    assert result.code == 1
    assert result.error.startswith(f"{path} is {'not a' if damage == 'alien' else 'damaged'}")
    assert "--fresh" in result.error


def test_an_unknown_recipe_lists_the_nearest() -> None:
    result = train("tinny")
    assert result.code == 1
    assert result.error.startswith("no recipe 'tinny'; nearest: tiny")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("widht=3", "no setting 'widht'; nearest: width"),
        ("width=x", "--set width=x: it should be a valid integer, unable to parse string as an integer"),
        ("width", "Invalid value for '--set': 'width' is not NAME=VALUE"),
        ("width=-1", "--set width=-1: it should be greater than or equal to 1"),
        ("batch=-1", "--set batch=-1: it should be greater than or equal to 1"),
        ("lr=nan", "--set lr=nan: it should be a finite number"),
        ("seed=100000000000000000000", "--set seed=100000000000000000000: it should be less than 4294967296"),
        ("lr=1\x1b[31m", "--set lr='1\\x1b[31m': it should be a valid number, unable to parse string as a number"),
    ],
)
def test_a_bad_setting_is_one_clear_line(tmp_path: Path, given: str, line: str) -> None:
    result = invoke(tmp_path / "run", "--set", given)
    assert (result.code, result.error) == (2, line)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--threads", "99999999999999999999"), ("--threads", "0"), ("--save-every-minutes", "nan"),
        ("--save-every-minutes", "inf"), ("--steps", "1" + 30 * "0"), ("--log-every", "0"), ("--device", "tpu"),
    ],
)  # fmt: skip
def test_a_bad_option_is_one_clear_line(tmp_path: Path, option: str, value: str) -> None:
    result = invoke(tmp_path / "run", option, value)
    assert result.code == 2
    assert f"'{option}'" in result.error
    assert not (tmp_path / "run").exists()


def _state_with(path: Path, header: object) -> None:
    """The tensors of a state under another header."""
    with safe_open(path, framework="pt") as file:
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(held, path, {"state": header if isinstance(header, str) else json.dumps(header)})


@pytest.mark.parametrize("more", [(), ("--finish",)])
@pytest.mark.parametrize(
    "change",
    [
        {"settings": None}, {"settings": {"lr": None}}, {"settings": {"lr": 1}}, {"step": -1},
        {"step": "5"}, {"step": 1.5},
        {"seconds": float("nan")}, {"steps": 0}, {"recipe": ["tiny"]}, {"more": 1}, {"crc32": None}, {"optimizer": {}},
    ],
)  # fmt: skip
def test_a_state_with_a_wrong_header_is_one_line(
    tmp_path: Path, change: dict[str, object], more: tuple[str, ...]
) -> None:
    assert invoke(tmp_path, "--steps", "2").code == 0
    path = tmp_path / "state.safetensors"
    _state_with(path, vars(state.read(path)[0]) | change)
    result = invoke(tmp_path, "--steps", "2", *more)
    assert result.code == 1
    assert result.error.startswith(f"{path} is not a training state of this version ({str(*change)!r}")


@pytest.mark.parametrize("header", ["null", "[]", "{}", "", "[" * 100_000, "\\ud800"])
def test_a_state_whose_header_is_no_object_is_one_line(tmp_path: Path, header: str) -> None:
    assert invoke(tmp_path, "--steps", "2").code == 0
    _state_with(tmp_path / "state.safetensors", header)
    result = invoke(tmp_path, "--finish")
    assert result.code == 1
    assert "is not a training state" in result.error


def test_the_settings_that_a_state_file_names_reach_the_terminal_escaped(tmp_path: Path) -> None:
    assert invoke(tmp_path, "--steps", "2").code == 0
    path = tmp_path / "state.safetensors"
    _state_with(path, vars(state.read(path)[0]) | {"settings": {"lr\x1b]0;": "\u202e1"}})
    result = invoke(tmp_path, "--steps", "2")
    assert result.code == 2
    assert "other settings" in result.error
    assert result.error.isprintable()


@pytest.mark.parametrize(
    "lines",
    [
        b'{"step": 1}\n\xff\xfe\n{"step": 2}\n', b"Dear diary,\ntoday I trained.\n", b'[1]\n{"step": 1}\n',
        b'{"step": 1' + b"0" * 400 + b"}\n{}\n", b"[" * 10_000 + b"\n\n", b'{"step": "x"}\n{"step": 1}\n',
    ],
)  # fmt: skip
@pytest.mark.parametrize("begun", [True, False])
def test_a_log_that_no_run_wrote_is_one_line_and_stays_as_it_is(tmp_path: Path, lines: bytes, begun: bool) -> None:
    if begun:
        assert invoke(tmp_path, "--steps", "2").code == 0
    (tmp_path / "log.jsonl").write_bytes(lines)
    result = invoke(tmp_path, "--steps", "4")
    assert result.code == 1
    assert result.error.startswith(f"{tmp_path / 'log.jsonl'}: line ")
    assert (tmp_path / "log.jsonl").read_bytes() == lines


@pytest.mark.parametrize("cut", [b'{"step": 3, "lo', b'{"step": 3}', b"\xff"])
def test_a_last_line_that_a_kill_cut_off_is_dropped(tmp_path: Path, cut: bytes) -> None:
    assert invoke(tmp_path, "--steps", "2").code == 0
    log = tmp_path / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + cut)
    assert invoke(tmp_path, "--steps", "4", "--resume").code == 0
    assert log.read_bytes().startswith(whole)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2, 2, 4, 4]


@pytest.mark.parametrize("name", ["state.safetensors", "state-stable.safetensors", "log.jsonl", "lock"])
def test_a_pipe_in_the_folder_is_never_opened(tmp_path: Path, name: str) -> None:
    if name.startswith("state-"):  # which is read to make a run longer
        assert invoke(tmp_path, "--steps", "20").code == 0
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    result = invoke(tmp_path, "--steps", "40")
    assert (result.code, result.error) == (
        2,
        f"{tmp_path / name} is not a regular file; move it away or choose another --output",
    )


def test_a_file_named_lock_keeps_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("the key is under the mat")
    assert invoke(tmp_path, "--steps", "2").code == 0
    assert (tmp_path / "lock").read_text() == "the key is under the mat"


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("wrong", [("--set", "width=-1"), ("--set", "lr=1e3", "--set", "width=3")])
def test_fresh_replaces_nothing_before_its_first_state_is_saved(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    assert invoke(tmp_path, "--steps", "20").code == 0
    before = _contents(tmp_path)
    sick = tmp_path / "sick.py"
    second = "return error / (batch['x'][0, 0] != make(range(32, 33))['x'][0, 0]), {"
    sick.write_text(Path(TINY).read_text().replace("return error, {", second))
    words = [str(sick), "--output", str(tmp_path), "--device", "cpu", "--fresh", "--log-every", "1", *wrong]
    line = train(*words).error  # a setting that is refused, or the loss of the second step
    assert line.startswith(("--set width=-1", "step 2: loss inf"))
    sick.unlink()
    assert _contents(tmp_path) == before


def test_fresh_leaves_no_state_of_the_run_before_next_to_its_own(tmp_path: Path) -> None:
    assert invoke(tmp_path, "--steps", "20").code == 0
    assert (tmp_path / "state-stable.safetensors").exists()
    session = run.open_session(tiny(), run.Options(folder=tmp_path, device=CPU, dtype=torch.float32, resume=False))
    assert session.training.step == 0
    session.save("state.safetensors")
    assert not (tmp_path / "state-stable.safetensors").exists()
    assert state.read(tmp_path / "state.safetensors")[0].step == 0


def test_sigterm_while_the_weights_are_written_leaves_no_temporary_file(tmp_path: Path, begin: Begin) -> None:
    slow = tmp_path / "slow.py"
    code = (
        Path(TINY)
        .read_text()
        .replace(
            "        save_file(",
            "        (progress.folder / 'now').touch(); __import__('time').sleep(60)\n        save_file(",
        )
    )
    slow.write_text(code)
    process = begin(tmp_path / "run", "--steps", "3", recipe=str(slow))
    wait_until((tmp_path / "run" / "now").exists, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143
    assert err.splitlines()[-1] == "stopped; the same command resumes from the last saved state"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "now", "lock", "log.jsonl", "state.safetensors", "state-stable.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_saves_the_step_it_names(tmp_path: Path, begin: Begin, number: signal.Signals) -> None:
    process = begin(tmp_path, "--steps", "100000")
    wait_for_state(process, tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    step = state.read(tmp_path / "state.safetensors")[0].step
    assert err.strip() == f"stopped after step {step}; the same command resumes from there"


def test_an_ignored_signal_stays_ignored_as_under_nohup(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with run._signals(tmp_path):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_in_a_thread_leaves_signals_alone(tmp_path: Path) -> None:
    options = run.Options(folder=tmp_path, device=CPU, dtype=torch.float32, steps=2, say=lambda line: None)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run.execute, tiny(), options).result() == tmp_path / "tiny.safetensors"


def test_a_run_with_stderr_closed_writes_its_files(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "scorefield", "train", *arguments(tmp_path, "--steps", "4")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    code = "import os, sys; os.close(2); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *line], env=environment, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'tiny.safetensors'}\n")
    assert state.read(tmp_path / "state.safetensors")[0].step == 4
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [4, 4]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke(tmp_path / "file" / "run")
    assert (result.code, result.error) == (1, f"cannot use {tmp_path / 'file' / 'run'}: Not a directory")


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    path = tmp_path / "sick.py"
    tiny = Path(TINY).read_text()
    sick = tiny.replace("return error, {", "return error / (batch['x'][0, 0] != make(range(96, 97))['x'][0, 0]), {")
    assert sick != tiny
    path.write_text(sick)
    result = train(str(path), "--output", str(tmp_path / "run"), "--device", "cpu")
    assert result.code == 1
    assert result.error.startswith("step 4: loss inf")


@pytest.mark.parametrize("place", ["return error, {", "        return nn.Sequential", "        path = progress.folder"])
def test_a_bug_in_a_recipe_keeps_its_traceback(tmp_path: Path, place: str) -> None:
    path = tmp_path / "buggy.py"
    indent = place[: len(place) - len(place.lstrip())]
    text = Path(TINY).read_text().replace(place, f"{indent}raise ValueError('a bug')\n        {place.lstrip()}")
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^a bug$"):
        train(str(path), "--output", str(tmp_path / "run"), "--device", "cpu", "--steps", "2")


class Adder(nn.Module):
    """The tiny recipe's network as a class of its own: torch.compile leaves torch's classes alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.GELU(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def test_compiling_is_asked_of_the_network_that_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: asked.append(self))
    assert invoke(tmp_path / "plain", "--steps", "1").code == 0
    assert asked == []
    assert invoke(tmp_path / "compiled", "--steps", "1", "--compile").code == 0
    assert [type(one) for one in asked] == [nn.Sequential]


def test_without_a_compiler_compiling_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", none)
    assert "needs a C++ compiler" in invoke(tmp_path / "run", "--compile").error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_compiled_run_learns_what_one_that_is_not_learns(tmp_path: Path) -> None:
    recipe = replace(tiny(), build=Adder)

    def learnt(name: str, compiled: bool) -> dict[str, Tensor]:
        options = run.Options(
            folder=tmp_path / name, device=CPU, dtype=torch.float32, steps=3, compiled=compiled, say=lambda line: None
        )
        return load_file(run.execute(recipe, options))

    plain = learnt("plain", compiled=False)
    counters.clear()
    compiled = learnt("compiled", compiled=True)
    assert counters["stats"]["unique_graphs"] > 0
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        assert torch.allclose(compiled[name], value, rtol=1e-4, atol=1e-6), name
