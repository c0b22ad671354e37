import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import toy

from scorefield.cli import common, main
from scorefield.errors import MissingError
from scorefield.families.stable_diffusion.build import StableDiffusion
from scorefield.files import picture
from scorefield.zoo import registry


@pytest.fixture(autouse=True)
def the_toy_is_the_model(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "FAMILIES", [toy.Toys(), StableDiffusion()])
    monkeypatch.setattr(common, "physical_cores", torch.get_num_threads)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def scorefield(capsys):
    def call(*args):
        code = main.run([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def one_line(ended):
    code, out, err = ended
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return code, err


def rewritten(name, **changes):
    """x.png again with another record."""
    image, history = picture.read(Path("x.png"))
    Path(name).write_bytes(picture.encode(image, {picture.OURS: json.dumps(history.ours | changes)}))


@pytest.mark.parametrize(
    "args",
    [
        ["--seed", "3"],
        [],
        ["--sampler", "DPM++ 2M SDE", "--steps", "9", "--seed", "1"],
        ["-n", "fog", "--cfg-interval", "-1,2", "--cfg-rescale", "0.5", "--size", "24x16"],
        ["--noise", "brownian", "--sampler", "euler_ancestral", "--eta", "0.7"],
    ],
)
def test_a_picture_is_drawn_again_pixel_by_pixel(scorefield, args):
    scorefield("generate", "a tree in the desert", "-o", "x.png", *args)
    assert scorefield("replay", "x.png", "--output", "y.png") == (0, "identical\ny.png\n", "")
    assert np.array_equal(np.asarray(Image.open("x.png")), np.asarray(Image.open("y.png")))
    assert Image.open("x.png").info == Image.open("y.png").info


def test_every_picture_of_a_batch_is_drawn_again(scorefield):
    scorefield("generate", "a tree", "a cat", "--count", 3, "--batch-size", 4, "-o", "all")
    names = sorted(os.listdir("all"))
    assert len(names) == 6
    for name in names:
        assert scorefield("replay", f"all/{name}") == (0, "identical\n", "")
    assert sorted(os.listdir("all")) == names


def test_a_changed_picture_is_reported_with_the_number_of_its_pixels(scorefield):
    scorefield("generate", "a tree", "--seed", 0, "-o", "x.png")
    image, history = picture.read(Path("x.png"))
    for place in ((0, 0), (5, 7)):
        red, *rest = image.getpixel(place)
        image.putpixel(place, (255 - red, *rest))
    Path("y.png").write_bytes(picture.encode(image, {picture.OURS: json.dumps(history.ours)}))
    assert scorefield("replay", "y.png") == (1, "2 of 256 pixels differ\n", "")
    told = json.loads(scorefield("replay", "y.png", "--format", "json")[1])
    assert (told["identical"], told["different_pixels"]) == (False, 2)


def test_another_size_differs(scorefield):
    scorefield("generate", "a tree", "--seed", 0, "-o", "x.png")
    image, history = picture.read(Path("x.png"))
    Path("y.png").write_bytes(picture.encode(image.resize((8, 8)), {picture.OURS: json.dumps(history.ours)}))
    assert scorefield("replay", "y.png")[0] == 1
    pixels = image.width * image.height
    assert scorefield("replay", "y.png")[1] == f"{pixels} of {pixels} pixels differ\n"


def test_a_picture_without_a_record_is_refused(scorefield):
    Image.new("RGB", (8, 8)).save("x.png")
    code, line = one_line(scorefield("replay", "x.png", "-o", "y.png"))
    assert code == 1
    assert "no scorefield record" in line
    assert os.listdir() == ["x.png"]


def test_other_weights_are_refused_with_both_hashes(scorefield, monkeypatch):
    scorefield("generate", "a tree", "-o", "x.png")
    monkeypatch.setattr(registry, "FAMILIES", [toy.Toys(sha256="0ddba11" * 9)])
    code, line = one_line(scorefield("replay", "x.png", "-o", "y.png"))
    assert code == 1
    assert "5ca1ab1e5c" in line
    assert "0ddba110dd" in line
    assert os.listdir() == ["x.png"]


@pytest.mark.parametrize(
    "changes",
    [
        {"request": {}},
        {"request": {"prompts": ["a tree"], "steps": 10**9}},
        {"index": 5},
        {"index": -1},
        {"threads": 10**6},
        {"sha256": None},
    ],
)
def test_a_record_that_makes_no_sense_is_one_line(scorefield, changes):
    scorefield("generate", "a tree", "-o", "x.png")
    rewritten("y.png", **changes)
    code, _ = one_line(scorefield("replay", "y.png"))
    assert code in (1, 2)


def test_a_record_that_is_no_json_is_one_line(scorefield):
    Path("x.png").write_bytes(picture.encode(Image.new("RGB", (8, 8)), {picture.OURS: "{not json"}))
    assert one_line(scorefield("replay", "x.png"))[0] == 1


def test_replay_overwrites_only_when_asked(scorefield):
    scorefield("generate", "a tree", "-o", "x.png")
    assert scorefield("replay", "x.png", "-o", "x.png")[1] == "identical\nx-1.png\n"
    assert scorefield("replay", "x.png", "-o", "x.png", "--overwrite")[1] == "identical\nx.png\n"
    assert sorted(os.listdir()) == ["x-1.png", "x.png"]


def test_replay_of_a_damaged_file_is_one_line(scorefield):
    scorefield("generate", "a tree", "-o", "x.png")
    Path("y.png").write_bytes(Path("x.png").read_bytes()[:300])
    assert one_line(scorefield("replay", "y.png"))[0] == 1


@pytest.mark.parametrize(
    ("recorded", "args"), [({"device": "cuda:99"}, ["--device", "cpu"]), ({"model": "old name"}, ["--model", "toy"])]
)
def test_a_picture_of_another_device_or_name_is_drawn_again_with_options(scorefield, recorded, args):
    scorefield("generate", "a tree", "-o", "x.png")
    request = picture.read(Path("x.png"))[1].ours["request"] | recorded
    rewritten("y.png", request=request)
    assert scorefield("replay", "y.png", *args) == (0, "identical\n", "")


def test_a_picture_of_a_device_that_is_not_here_says_so(scorefield):
    scorefield("generate", "a tree", "-o", "x.png")
    rewritten("y.png", request=picture.read(Path("x.png"))[1].ours["request"] | {"device": "cuda:99"})
    assert one_line(scorefield("replay", "y.png"))[1] == "error: there is no device cuda:99 here; use cpu, or auto\n"


def test_a_device_that_is_none_is_refused_as_generate_refuses_it(scorefield):
    scorefield("generate", "a tree", "-o", "x.png")
    for device in ("3", "None", "cuda:x"):
        refused = one_line(scorefield("replay", "x.png", "--device", device))
        assert refused == (2, f"error: device must be auto, cpu, cuda, cuda:N or mps, not {device!r}\n")


def test_a_model_that_lies_elsewhere_now_says_how_to_name_it(scorefield, monkeypatch):
    def build(_, identity, choice, place):
        raise MissingError("toy: no such file or folder")

    scorefield("generate", "a tree", "-o", "x.png", "-q")
    monkeypatch.setattr(toy.Toys, "build", build)
    code, err = one_line(scorefield("replay", "x.png"))
    assert (code, err) == (
        1,
        "error: toy: no such file or folder; if it was moved, give its new path with --model\n",
    )
    assert one_line(scorefield("replay", "x.png", "-m", "./y"))[1] == "error: y: no such file or folder\n"
