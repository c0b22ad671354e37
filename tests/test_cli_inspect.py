"""scorefield inspect of weights: which model it is, at once and unloaded, or one line that says what is wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.published import keys, pipeline, sd1, sd2

from scorefield.cli import main
from scorefield.files import picture

SIZES = {"F16": 2, "F32": 4}


def _run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main.run(["inspect", *args])
    out, err = capsys.readouterr()
    return code, out, err


def _told(capsys: pytest.CaptureFixture[str], path: Path) -> tuple[str, dict[str, object]]:
    """What is printed of a path, as text and as JSON."""
    code, text, err = _run(capsys, str(path))
    assert (code, err) == (0, "")
    code, told, err = _run(capsys, str(path), "--format", "json")
    assert (code, err) == (0, "")
    return text, json.loads(told)


def _refused(capsys: pytest.CaptureFixture[str], path: Path) -> str:
    code, out, err = _run(capsys, str(path))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: ")
    assert str(path) in err
    return err


def _sparse(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "F32") -> Path:
    """A safetensors file of such tensors, all zeros, which takes no more room on the disk than its header."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + SIZES[dtype] * torch.Size(shape).numel()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)
    return path


def test_a_checkpoint_says_what_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = _sparse(tmp_path / "v1.safetensors", sd1(), "F16")
    text, told = _told(capsys, path)
    lines = text.splitlines()
    assert lines[1].startswith("safetensors file, 1135 tensors (1135 F16), 1,066,237,386 numbers, 2.13 GB")
    assert lines[2] == "checkpoint, Stable Diffusion 1, text to image, ldm layout"
    assert "  unet: 859,520,964 parameters in 686 tensors" in lines
    assert "  predicts eps: every published Stable Diffusion 1 predicts it" in lines
    model = told["model"]
    assert isinstance(model, dict)
    assert (model["family"], model["layout"], model["ema"]) == ("Stable Diffusion 1", "ldm", False)
    assert model["parts"]["vae"] == {"prefix": "first_stage_model.", "tensors": 248, "parameters": 83653863}
    assert (told["size"], told["files"]) == (path.stat().st_size, 1)


def test_what_the_user_must_say_is_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text, told = _told(capsys, _sparse(tmp_path / "v2.safetensors", sd2()))
    assert "  predicts eps or v (give --prediction): Stable Diffusion 2 was published with both" in text
    assert isinstance(told["model"], dict)
    assert told["model"]["prediction"]["value"] is None


def test_a_ckpt_shows_its_plain_values(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(2)}, "global_step": 875000}, tmp_path / "x.ckpt")
    text, told = _told(capsys, tmp_path / "x.ckpt")
    assert "\nvalues\n  global_step: 875000\n" in text
    assert told["values"] == {"global_step": 875000}
    assert list(told["tensors"]) == ["a"]  # type: ignore[call-overload]


def test_an_unknown_file_says_what_it_resembles(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text, _ = _told(capsys, _sparse(tmp_path / "x.safetensors", keys("glide/base.pt")))
    assert "\nunknown kind of model; it most resembles a GLIDE U-Net\n" in text


def test_our_own_file_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(main.__file__).parents[1] / "assets" / "scenes-clip.safetensors"
    assert "\none of scorefield's own files, a clip\n" in _told(capsys, path)[0]


def test_a_pipeline_says_what_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text, told = _told(capsys, pipeline(tmp_path))
    lines = text.splitlines()
    assert lines[1].startswith("StableDiffusionPipeline, 3 parts, ")
    assert lines[2] == "pipeline, Stable Diffusion 2, text to image, diffusers layout"
    assert "  predicts v: its scheduler says v_prediction" in lines
    assert (told["kind"], told["class"]) == ("pipeline", "StableDiffusionPipeline")
    assert sorted(told["parts"]) == ["text_encoder", "unet", "vae"]  # type: ignore[call-overload]


def test_a_folder_and_an_index_of_shards_are_one_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(3)}, tmp_path / "model-00002-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    for path in (tmp_path, index):
        text, told = _told(capsys, path)
        assert "safetensors, 2 files, 2 tensors (2 F32), 5 numbers" in text
        assert told["files"] == 2


def test_what_a_file_says_that_is_no_record_of_json_stays_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = {"a": '"\\ud800"', "b": "1e999", "c": "NaN", "d": "9" * 5000, "e": "[" * 5000, "f": '{"x": 1}'}
    said["crc32"] = "38704e20"
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors", metadata=said)
    text, told = _told(capsys, tmp_path / "x.safetensors")
    assert told["metadata"] == said | {"f": {"x": 1}}
    assert max(map(len, text.splitlines())) < 2100


def test_a_name_that_is_no_text_is_damage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    torch.save({"\ud800": torch.zeros(2)}, tmp_path / "x.pt")
    assert "is damaged" in _refused(capsys, tmp_path / "x.pt")


def test_every_bad_path_is_one_line_and_a_failure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "empty.ckpt").touch()
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "huge.safetensors").write_bytes((10**11).to_bytes(8, "little") + b'{"a":1}')
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../etc/passwd.safetensors"}}')
    os.mkfifo(tmp_path / "pipe.ckpt")
    for path in list(tmp_path.iterdir()):
        _refused(capsys, path)


def test_a_pipeline_without_a_part_is_refused_and_says_what_it_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = pipeline(tmp_path)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert "is a folder without weights" in _refused(capsys, folder)
    (folder / "vae").rmdir()
    assert "lacks vae of a StableDiffusionPipeline; it has text_encoder, unet" in _refused(capsys, folder)


_MEASURED = """
import resource, sys, time
from scorefield.cli import main
from scorefield.files import picture
if sys.argv[2] == "torch":
    import torch
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, start = peak(), time.process_time()
code = main.run(["inspect", sys.argv[1]])
print(code, time.process_time() - start, peak() - before, "torch" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_five_gigabytes_are_inspected_at_once_and_not_loaded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "safetensors":
        _sparse(path, sd1() | {f"copy.{key}": shape for key, shape in keys("diffusers/sd1/unet").items()})
    else:
        with torch.serialization.skip_data():
            torch.save({f"x{i}": torch.empty(250_000_000) for i in range(5)}, path)
    assert path.stat().st_size > 5e9
    assert path.stat().st_blocks * 512 < 1e7
    needs = "torch" if kind == "ckpt" else "nothing"
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(path), needs], capture_output=True, text=True, check=True
    )
    code, seconds, memory, loaded = done.stderr.split()
    assert code == "0"
    assert float(seconds) < 1
    assert int(memory) < 300e6
    assert loaded == str(kind == "ckpt")  # the header of safetensors is read without PyTorch


def test_a_picture_has_a_line_for_each_setting(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    graph, request = {"3": {"inputs": {"seed": 5}}}, {"steps": 4, "vae": None, "loras": [], "ema": False}
    held = {picture.OURS: json.dumps({"seed": 7, "request": request}), "prompt": json.dumps(graph)}
    path = tmp_path / "tree.png"
    path.write_bytes(picture.encode(Image.new("RGB", (8, 8)), held))
    text, told = _told(capsys, path)
    assert "\nscorefield\n  seed: 7\n  request.steps: 4\n  request.ema: false\n\n" in text
    assert '{"3": {"inputs": {"seed": 5}}}' in text  # a graph is not taken apart
    assert told["scorefield"] == {"seed": 7, "request": request}


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt", "x.pt"])
def test_what_was_downloaded_in_the_place_of_weights_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    assert "is a Git LFS pointer, not weights: run `git lfs pull` in its folder" in _refused(capsys, tmp_path / name)
    (tmp_path / name).write_bytes(b"<html>Access to this model is restricted")
    assert "is a web page or XML, not weights: the server sent it" in _refused(capsys, tmp_path / name)
    torch.save({"a": torch.zeros(2)}, tmp_path / name)
    assert "torch file, 1 tensor" in _told(capsys, tmp_path / name)[0]
