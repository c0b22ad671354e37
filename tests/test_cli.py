import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scorefield import __version__
from scorefield.cli import common, main

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src"), "OMP_NUM_THREADS": "1"}


def run(capsys, *args):
    code = main.run(list(args))
    out, err = capsys.readouterr()
    return code, out, err


def failed(capsys, *args):
    """The exit code and the one line of a command that fails."""
    code, out, err = run(capsys, *args)
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return code, err.removeprefix("error: ").strip()


def python(*args, **options):
    return subprocess.run([sys.executable, *args], env=ENVIRONMENT, capture_output=True, text=True, **options)


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_the_help_lists_every_command(capsys, args):
    code, out, err = run(capsys, *args)
    assert (code, err) == (0, "")
    for name, face in main.COMMANDS.items():
        assert name in out
        assert face.help in out


def test_no_help_of_a_command_imports_torch():
    code = (
        "import sys; from scorefield.cli import main\n"
        "assert all(main.run([name, '--help']) == 0 for name in main.COMMANDS)\n"
        "assert 'torch' not in sys.modules"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: scorefield") == len(main.COMMANDS)


def test_the_version(capsys):
    assert run(capsys, "--version") == (0, f"scorefield {__version__}\n", "")


def test_an_unknown_command_gets_the_nearest(capsys):
    assert failed(capsys, "genrate") == (2, "there is no command 'genrate'; did you mean generate?")
    assert failed(capsys, "xyz")[1].startswith("there is no command 'xyz'; the commands are generate,")


def test_a_group_without_a_command_shows_its_help(capsys):
    code, out, err = run(capsys, "eval")
    assert (code, err) == (0, "")
    assert "adherence" in out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def recipe(:", "broken.py cannot be read: invalid syntax (broken.py, line 1)"),
        ("import no_such_thing", "broken.py cannot be read: No module named 'no_such_thing'"),
        ("x = 1", "broken.py has no function recipe()"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_one_line(capsys, tmp_path, monkeypatch, text, says):
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text(text)
    assert failed(capsys, "train", "broken.py") == (1, says)


def test_a_run_folder_that_cannot_be_made_is_one_line(capsys):
    code, line = failed(capsys, "train", "tiny", "--output", "/dev/null/run")
    assert code == 1
    assert line.startswith("cannot use /dev/null/run: ")


def test_an_unknown_option_is_one_line(capsys):
    code, line = failed(capsys, "inspect", "--bogus")
    assert code == 2
    assert "--bogus" in line


def test_a_file_error_names_the_file():
    assert (
        common.reason(PermissionError(13, "Permission denied", "out/x.png"))
        == "cannot use out/x.png: Permission denied"
    )
    assert common.reason(OSError("strange")) == "strange"


def test_a_result_that_cannot_be_written_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scorefield", "--help"],
            env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: cannot write the result: No space left on device\n")


def test_a_closed_stdout_is_no_error():
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m scorefield --help >&-"],
        env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_unicode_gets_the_whole_result(tmp_path):
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_itxt("prompt", '{"text": "ein Bär \\ud800 🐻"}')
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", pnginfo=info)
    for form in ("text", "json"):
        for encoding in ("latin-1", "utf-8"):
            done = subprocess.run(
                [sys.executable, "-m", "scorefield", "inspect", str(tmp_path / "x.png"), "--format", form],
                env=ENVIRONMENT | {"PYTHONIOENCODING": encoding}, capture_output=True,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, b"")
            assert ("🐻".encode() in done.stdout) is (encoding == "utf-8")
            if form == "json":
                assert json.loads(done.stdout.decode())["comfyui"]["prompt"]["text"] == "ein Bär \ud800 🐻"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (MemoryError(), 1, "error: out of memory; draw fewer pictures at once\n"),
        (OSError(28, "No space left on device", "x.png"), 1, "error: cannot use x.png: No space left on device\n"),
    ],
)
def test_every_end_has_its_code_and_its_line(capsys, monkeypatch, error, code, line):
    def command(*args, **options):
        raise error

    monkeypatch.setattr(main.group, "main", command)
    assert run(capsys) == (code, "", line)


def test_a_reader_that_goes_away_is_no_error():
    code = (
        "import sys, time; from scorefield.cli import common, main, inspect as inspecting; "
        "inspecting.command.callback = lambda **_: [common.show([], 'text', 'x' * 100000) for _ in range(50)]; "
        "main.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "inspect", __file__],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) != 0


def test_physical_cores_are_at_least_one_and_no_more_than_there_are():
    assert 1 <= common.physical_cores() <= os.cpu_count()


def test_hyper_threads_count_once_and_a_quota_counts(monkeypatch):
    monkeypatch.setattr(common.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    files = {f"/sys/devices/system/cpu/cpu{k}/topology/thread_siblings_list": f"{k % 4},{k % 4 + 4}" for k in range(8)}
    monkeypatch.setattr(common, "_read", lambda path: files.get(path, ""))
    monkeypatch.setattr(common.os, "cpu_count", lambda: 8)
    assert common.physical_cores() == 4
    files["/sys/fs/cgroup/cpu.max"] = "200000 100000"
    assert common.physical_cores() == 2
    files["/sys/fs/cgroup/cpu.max"] = "max 100000"
    assert common.physical_cores() == 4


def inspected(capsys, path):
    code, out, err = run(capsys, "inspect", str(path), "--format", "json")
    assert (code, err) == (0, "")
    assert run(capsys, "inspect", str(path))[0] == 0
    return json.loads(out)


def test_inspect_reads_the_header_of_safetensors(capsys, tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"net.a": torch.zeros(2, 3), "net.b": torch.zeros(4).half()}, tmp_path / "w.bin", {"note": '{"step": 3}'})
    told = inspected(capsys, tmp_path / "w.bin")
    assert told["kind"] == "safetensors"
    assert told["metadata"] == {"note": {"step": 3}}
    assert told["numbers"] == 10
    assert told["tensors"] == {
        "net.a": {"dtype": "F32", "shape": [2, 3]},
        "net.b": {"dtype": "F16", "shape": [4]},
    }


def test_inspect_reads_tensors_of_a_torch_file(capsys, tmp_path):
    import torch

    torch.save({"state": {"a": torch.zeros(2, 3)}, "step": 3}, tmp_path / "w.ckpt")
    told = inspected(capsys, tmp_path / "w.ckpt")
    assert told["tensors"] == {"state.a": {"dtype": "float32", "shape": [2, 3]}}


def test_inspect_finds_tensors_in_lists_and_alone(capsys, tmp_path):
    import torch

    torch.save([torch.zeros(3), {"a": (torch.zeros(()),)}], tmp_path / "list.pt")
    assert list(inspected(capsys, tmp_path / "list.pt")["tensors"]) == ["0", "1.a.0"]
    assert "1.a.0  float32  scalar" in run(capsys, "inspect", str(tmp_path / "list.pt"))[1]
    torch.save(torch.zeros(3), tmp_path / "one.pt")
    assert "1 tensor (1 float32), 3 numbers" in run(capsys, "inspect", str(tmp_path / "one.pt"))[1]


def test_inspect_of_mutated_torch_files_is_one_line_or_a_result(capsys, tmp_path):
    import random

    import torch

    source, path, codes = random.Random(0), tmp_path / "w.pt", set()
    torch.save({"a": torch.zeros(2, 3), "step": 3}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for _ in range(300):
        mutated = bytearray(whole[: source.choice([len(whole), source.randrange(1, len(whole))])])
        for _ in range(source.randrange(1, 5)):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        path.write_bytes(b"\x80" + mutated[1:])
        code, out, err = run(capsys, "inspect", str(path))
        codes.add(code)
        assert (code, out, err.count("\n")) == (1, "", 1) or (code, err) == (0, "")
    assert 1 in codes


def test_inspect_of_a_list_that_holds_itself_ends(capsys, tmp_path):
    import torch

    endless = []
    endless.append(endless)
    torch.save(endless, tmp_path / "w.pt")
    assert failed(capsys, "inspect", str(tmp_path / "w.pt"))[0] == 1


def test_inspect_shows_no_control_character_of_a_file(capsys, tmp_path):
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", "a\x1b]0;title\x07 tree\x9b2J\tand\nmore")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", pnginfo=info)
    out = run(capsys, "inspect", str(tmp_path / "x.png"))[1]
    assert "a\\x1b]0;title\\x07 tree\\x9b2J\tand\n    more" in out


class Code:
    """What a pickle may hold."""

    def __reduce__(self):
        return os.mkdir, (f"{os.environ['TRAP']}/sprung",)


def test_inspect_never_runs_code_in_a_file(capsys, tmp_path, monkeypatch):
    import pickle

    import torch

    monkeypatch.setenv("TRAP", str(tmp_path))
    torch.save({"a": Code()}, tmp_path / "new.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"a": Code()}))
    for name in ("new.pt", "old.pt"):
        code, line = failed(capsys, "inspect", str(tmp_path / name))
        assert code == 1
        assert "never run" in line
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("size", [1, 100, 500])
@pytest.mark.parametrize("kind", ["w.safetensors", "w.pt", "x.png"])
def test_inspect_tells_a_damaged_file_in_one_line(capsys, tmp_path, kind, size):
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    path = tmp_path / kind
    if path.suffix == ".png":
        Image.effect_noise((64, 64), 50).save(path)
    elif path.suffix == ".pt":
        torch.save({"a": torch.zeros(500)}, path)
    else:
        save_file({"a": torch.zeros(500)}, path)
    path.write_bytes(path.read_bytes()[:size])
    code, line = failed(capsys, "inspect", str(path))
    assert code == 1
    assert str(path) in line


def test_inspect_says_when_a_picture_has_no_record(capsys, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 4)).save(tmp_path / "x.jpg")
    assert inspected(capsys, tmp_path / "x.jpg") == {
        "file": str(tmp_path / "x.jpg"),
        "kind": "picture",
        "format": "JPEG",
        "width": 8,
        "height": 4,
    }
    assert "no record of how it was made" in run(capsys, "inspect", str(tmp_path / "x.jpg"))[1]


def test_a_line_quotes_what_is_very_long_from_both_ends(capsys):
    code, line = failed(capsys, "generate", "a", "--model", "x" * 3000 + ".ckpt")
    assert code in (1, 2)
    assert len(line) < 850
    assert " ... " in line
    assert line.endswith("no such file or folder") or "at most 4096" in line or "too long" in line


def test_inspect_of_no_file_is_one_line(capsys, tmp_path):
    assert failed(capsys, "inspect", str(tmp_path / "none"))[0] == 2
    (tmp_path / "text").write_text("hello")
    assert failed(capsys, "inspect", str(tmp_path / "text")) == (
        1,
        f"{tmp_path / 'text'} is neither a readable picture nor a weights file",
    )
