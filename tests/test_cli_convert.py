"""scorefield convert: a folder and one file, whole or not at all, and one line for whatever is wrong."""

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.test_zoo_convert import done, single
from tests.tiny import TINY

import scorefield
from scorefield.cli.main import run
from scorefield.conversion.convert import Job, prepare
from scorefield.conversion.plan import conversion
from scorefield.conversion.writer import Conversion


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder, small, of float32."""
    made = tmp_path_factory.mktemp("tiny")
    single(made / "x.safetensors", TINY)
    return done(conversion(made / "x.safetensors", to="diffusers", networks=TINY, prediction="eps"), made / "folder")


def _refused(capsys: pytest.CaptureFixture[str], *args: str, code: int = 2) -> str:
    assert run(["convert", *args]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_a_folder_becomes_one_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "x.safetensors"
    assert run(["convert", str(folder), str(out), "--dtype", "bfloat16", "--format", "json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one.dtype for one in load_file(out).values()} == {torch.bfloat16}
    assert told == {
        "file": str(out), "layout": "ldm", "left": {}, "bytes": sum(one.nbytes for one in load_file(out).values())
    }  # fmt: skip
    assert os.listdir(out.parent) == ["x.safetensors"]


def test_a_folder_becomes_a_folder_of_another_dtype_and_says_what_it_left(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = json.loads((folder / "model_index.json").read_text())
    linked = tmp_path / "in"
    linked.mkdir()
    for part in folder.iterdir():
        (linked / part.name).symlink_to(part)
    (linked / "model_index.json").unlink()
    (linked / "model_index.json").write_text(json.dumps(held | {"safety_checker": ["stable_diffusion", "Checker"]}))
    out = tmp_path / "half"
    assert run(["convert", str(linked), str(out), "--dtype", "float16"]) == 0
    assert capsys.readouterr().out == f"{out}\nleft out: safety_checker (1)\n"
    unet = load_file(out / "unet" / "diffusion_pytorch_model.safetensors")
    assert {one.dtype for one in unet.values()} == {torch.float16}


def test_the_front_door_converts_too(folder: Path, tmp_path: Path) -> None:
    out = scorefield.convert(folder, tmp_path / "x.safetensors")
    assert out == tmp_path / "x.safetensors"
    assert {one.dtype for one in load_file(out).values()} == {torch.float32}


def test_what_cannot_be_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "there"
    there.mkdir()
    assert "already exists; choose another name, or remove it" in _refused(capsys, str(folder), str(there))
    told = _refused(capsys, str(folder), str(tmp_path / "x"), "--to", "ldm")
    assert "the layout ldm is one file, whose name ends in .safetensors" in told
    told = _refused(capsys, str(folder), str(tmp_path / "x.safetensors"), "--to", "diffusers")
    assert "the layout diffusers is a folder" in told
    told = _refused(capsys, str(folder), str(tmp_path / "x.ckpt"))
    assert told.endswith("x.ckpt: no .ckpt is written; name it x.safetensors, or give a folder another name\n")
    assert "does not exist" in _refused(capsys, str(tmp_path / "none"), str(tmp_path / "x"))
    save_file({"odd": torch.ones(1)}, tmp_path / "odd.safetensors")
    told = _refused(capsys, str(tmp_path / "odd.safetensors"), str(tmp_path / "x"))
    assert "is neither a Stable Diffusion nor a Wan, nor a part of one" in told
    (tmp_path / "cut.safetensors").write_bytes(b"abc")
    assert "damaged" in _refused(capsys, str(tmp_path / "cut.safetensors"), str(tmp_path / "x"), code=1)
    assert sorted(os.listdir(tmp_path)) == ["cut.safetensors", "odd.safetensors", "there"]


@pytest.mark.parametrize("name", ["new/x.safetensors", "new/x"])
def test_ctrl_c_and_a_failure_leave_nothing(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Conversion.run
    for error, code in ((KeyboardInterrupt, 130), (OSError(28, "No space left on device"), 1)):

        def broken(self: Conversion, path: Path, dtype: torch.dtype | None) -> Generator[int, None, None]:
            for count, one in enumerate(whole(self, path, dtype)):
                if count == 20:
                    raise error  # noqa: B023
                yield one

        monkeypatch.setattr(Conversion, "run", broken)
        assert run(["convert", str(folder), str(tmp_path / name)]) == code
        assert os.listdir(tmp_path) == []
    assert "No space left on device" in capsys.readouterr().err


def test_closing_half_way_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    job: Job = prepare(folder, tmp_path / "x")
    written = job.run()
    assert next(written) > 0
    assert len(os.listdir(tmp_path)) == 2  # the hidden folder, and the file that keeps its place
    written.close()
    assert os.listdir(tmp_path) == []
