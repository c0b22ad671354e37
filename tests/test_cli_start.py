"""scorefield generate from a picture, and replay of what it drew, with the toy."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import toy

from scorefield.api import Pipeline
from scorefield.cli import common, main
from scorefield.zoo import registry

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def the_toy_is_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "FAMILIES", [toy.Toys()])
    monkeypatch.setattr(common, "physical_cores", torch.get_num_threads)
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(0, 255, (16, 16, 3))
    Image.fromarray(values.astype(np.uint8)).save("a.png")
    mask = Image.new("L", (16, 16))
    mask.paste(255, (0, 0, 8, 16))
    mask.save("mask.png")


@pytest.fixture
def scorefield(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*args: object) -> tuple[int, str, str]:
        code = main.run([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_the_steps_that_are_walked_are_printed(scorefield: Call) -> None:
    assert scorefield("generate", "a tree", "-i", "a.png", "--steps", 10, "--strength", 0.6, "-o", "x.png") == (
        0,
        "x.png\n",
        "strength 0.6: the last 6 of 10 steps are walked\n",
    )
    assert scorefield("generate", "a tree", "-i", "a.png", "--strength", 1, "-o", "y.png")[2] == ""
    assert scorefield("generate", "a tree", "-i", "a.png", "--strength", 0.6, "-o", "y.png", "--quiet")[2] == ""
    line = scorefield("generate", "a tree", "-i", "a.png", "--steps", 10, "--exact-steps", "--dry-run")[2]
    assert line == "strength 0.75: the last 10 of 14 steps are walked\n"


@pytest.mark.parametrize(
    "args",
    [
        ["--strength", "0.5"],
        ["--denoising-strength", "0.9", "--exact-steps", "--sampler", "euler_ancestral"],
        ["--mask", "mask.png"],
        ["--mask", "mask.png", "--no-paste", "--size", "24x16", "--fit", "stretch"],
    ],
)
def test_a_picture_from_a_picture_is_drawn_again(scorefield: Call, args: list[str]) -> None:
    assert scorefield("generate", "a tree", "--init-img", "a.png", *args, "-o", "x.png", "-q")[0] == 0
    assert scorefield("replay", "x.png") == (0, "identical\n", "")


def test_a_picture_that_is_gone_or_another_is_one_line(scorefield: Call) -> None:
    scorefield("generate", "a tree", "-i", "a.png", "-o", "x.png", "-q")
    Path("a.png").rename("b.png")
    code, out, err = scorefield("replay", "x.png")
    assert (code, out, err) == (1, "", "error: the picture a.png does not exist\n")
    Image.new("RGB", (16, 16)).save("a.png")
    code, _, err = scorefield("replay", "x.png")
    assert code == 2
    assert err.startswith("error: the image a.png has changed since it was recorded")
    assert err.count("\n") == 1
    assert scorefield("replay", "x.png", "--image", "b.png") == (0, "identical\n", "")
    assert scorefield("replay", "x.png", "--image", "mask.png")[0] == 2


def test_a_picture_that_was_given_in_memory_is_drawn_again_from_a_file_of_the_same_pixels(scorefield: Call) -> None:
    Pipeline(toy.model())("a tree", image=Image.open("a.png"), mask=Path("mask.png"), seed=1).save("x.png")
    assert "must be given again with --image" in scorefield("replay", "x.png")[2]
    Image.open("a.png").save("a.bmp")
    assert scorefield("replay", "x.png", "--image", "a.bmp") == (0, "identical\n", "")
    assert scorefield("replay", "x.png", "--image", "mask.png")[0] == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-i", "a.png", "--strength", "1.5"], "--strength must be a number from 0 to 1, not '1.5'"),
        (["-i", "a.png", "--strength", "0.01"], "--strength 0.01 leaves none of 4 steps; 0.25 leaves one"),
        (["--strength", "0.5"], "--strength needs an image to start from (--image)"),
        (["--mask", "mask.png"], "--mask needs an image to start from (--image)"),
        (["--exact-steps"], "--exact-steps needs an image to start from (--image)"),
        (["-i", "a.png", "--fit", "tile"], "--fit must be crop or stretch, not 'tile'"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(scorefield: Call, args: list[str], words: str) -> None:
    before = sorted(Path().iterdir())
    assert scorefield("generate", "a tree", *args) == (2, "", f"error: {words}\n")
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("given", "words"),
    [("no.png", "the picture no.png does not exist"), (".", "the picture . is a folder, not a picture file")],
)
def test_a_picture_that_is_none_is_one_line(scorefield: Call, given: str, words: str) -> None:
    assert scorefield("generate", "a tree", "-i", given) == (1, "", f"error: {words}\n")


def test_a_damaged_picture_is_one_line(scorefield: Call) -> None:
    held = Path("a.png").read_bytes()
    Path("a.png").write_bytes(held[: len(held) // 2])
    code, out, err = scorefield("generate", "a tree", "-i", "a.png")
    assert (code, out) == (1, "")
    assert err.startswith("error: a.png is damaged: ")
    assert err.count("\n") == 1


def test_json_tells_what_the_picture_was(scorefield: Call) -> None:
    told = json.loads(scorefield("generate", "a tree", "-i", "a.png", "--format", "json", "-q")[1])
    assert told["request"]["image"]["path"] == "a.png"
    assert told["request"]["strength"] == 0.75
