"""Notes are their thread's own, bugs keep their traceback, and a wrong call is one line that names the option."""

import os
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests import toy

from scorefield.api import Pipeline
from scorefield.cli import common
from scorefield.cli.main import run
from scorefield.errors import RequestError
from scorefield.notes import Note, UnknownWordsWarning
from scorefield.sample import samplers
from scorefield.zoo import registry


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "FAMILIES", [toy.Toys()])
    monkeypatch.setattr(common, "physical_cores", torch.get_num_threads)
    monkeypatch.chdir(tmp_path)


def test_each_of_eight_threads_gets_its_own_notes() -> None:
    pipe = Pipeline(toy.model())
    found: dict[str, list[str]] = {}
    start = threading.Barrier(8)

    def draw(word: str) -> None:
        start.wait()
        notes = []
        for _ in range(5):
            notes += [event for event in pipe.job(f"a {word}", steps=2) if isinstance(event, Note)]
        assert {note.kind for note in notes} == {UnknownWordsWarning}
        found[word] = [note.text for note in notes]

    words = [f"xyz{letter}" for letter in "abcdefgh"]
    threads = [threading.Thread(target=draw, args=(word,)) for word in words]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found.keys() == set(words)
    for word, texts in found.items():
        assert len(texts) == 5
        assert all(f"never saw {word}:" in text for text in texts)


@pytest.fixture
def broken_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[object]:
        raise ValueError("strange kernel")

    record = replace(samplers.find("euler")[0], sampler=broken)
    monkeypatch.setattr(samplers, "find", lambda _: (record, None))


def test_a_bug_in_a_sampler_keeps_its_traceback(toys: None, broken_sampler: None) -> None:
    for draw in (lambda: Pipeline(toy.model())("a tree"), lambda: run(["generate", "a tree", "-m", "toy"])):
        with pytest.raises(ValueError, match="strange kernel") as caught:
            draw()
        assert not isinstance(caught.value, RequestError)
        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "broken"
    assert os.listdir() == []


WRONG = [
    "--steps 0", "--steps many", "--steps=1001", "--cfg-scale -1", "--cfg-scale nan", "--guidance 101",
    "--guidance-scale 101", "--guidance-scale x", "--cfg-rescale 2", "--cfg-interval 3", "--cfg-interval 4,2",
    "--sampler eulr", "--sampling-method eulr", "--sampler-name eulr", "--schedule karas", "--scheduler karas",
    "--eta 11", "--eta 1", "--noise pink", "--seed -5", "--seed x", "-b 0", "-b0", "--count 2000", "--batch-size 0",
    "--width 20", "--width 4", "-W 20", "-H 20", "--height 9999", "--size big", "--size 20x16", "--size 4",
    "--size 9999", "--frames 9", "--frames 0", "--fps 0", "--fps 8", "--strength 2", "--strength 0.5", "--denoise 2",
    "--denoise 0.5", "--denoising-strength 0.5", "--exact-steps", "--fit wide", "--mask m.png", "--mask-image m.png",
    "--image-prompt p.png", "--noise-level 5", "--noise-level 1000", "--tile 7", "--weighting x", "--long-prompt x",
    "--clip-skip 0", "--clip-skip 99", "--dtype int8", "--dtype float16", "--device tpu", "--device cuda:99",
    "--model tyo", "-m tyo", "--prediction x", "--variant a/b", "--num-inference-steps 0", "--format yaml",
]  # fmt: skip


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_call_is_one_line_that_names_the_option_as_typed(
    call: str, toys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = call.split()
    flag = "-b" if call.startswith("-b") else arguments[0].partition("=")[0]
    assert run(["generate", "a tree", *arguments]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert flag in err.replace("'", " ").replace(":", " ").replace("(", " ").replace(")", " ").split()
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_inference_steps", 0), ("steps", "x"), ("guidance_scale", 101), ("guidance", -1), ("cfg", 101),
        ("denoise", 2), ("denoising_strength", 2), ("strength", 0.5), ("init_img", 3), ("init_image", 3),
        ("mask_image", 3), ("num_images_per_prompt", 0), ("sampler_name", ""), ("scheduler", ""), ("size", 4),
        ("lora", 3), ("negative_prompt", 3), ("frames", 9), ("sample_steps", 0), ("tile", 7),
    ],
)  # fmt: skip
def test_a_wrong_python_call_is_one_line_that_names_the_option(name: str, value: object) -> None:
    with pytest.raises(RequestError) as caught:
        Pipeline(toy.model())("a tree", **{name: value})
    line = str(caught.value)
    assert "\n" not in line
    assert line.split()[0] == name
