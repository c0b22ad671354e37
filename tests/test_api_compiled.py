"""Compiled pipelines: what a picture records, what replays it, and what is said where nothing can be compiled.

The compiler only traces here, and runs what it traced as it is.
"""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import toy

import scorefield as sf
from scorefield.adapters.compiled import compiled
from scorefield.api import Pipeline
from scorefield.cli import common, main
from scorefield.errors import RequestError
from scorefield.files.picture import read
from scorefield.model.system import System
from scorefield.request import Request
from scorefield.zoo import opened_model, registry


@pytest.fixture(autouse=True)
def the_toy_is_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "FAMILIES", [toy.Toys()])
    monkeypatch.setattr(common, "physical_cores", torch.get_num_threads)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    monkeypatch.chdir(tmp_path)


def is_compiled(pipe: Pipeline) -> bool:
    return pipe.stage.denoiser.net._compiled_call_impl is not None


def test_a_compiled_pipeline_draws_the_same_picture_and_says_so() -> None:
    plain, fast = sf.load("toy"), sf.load("toy", compiled=True)
    assert (is_compiled(plain), is_compiled(fast)) == (False, True)
    made, again = (pipe("a tree in the desert", seed=3) for pipe in (plain, fast))
    assert np.array_equal(np.asarray(made.image), np.asarray(again.image))
    assert (made.request.compiled, again.request.compiled) == (False, True)


def test_compiling_leaves_the_model_as_it_is() -> None:
    plain = toy.model()
    fast = compiled(plain)
    assert not plain.choice.compiled
    before, after = (one.stages[0].denoiser.net for one in (plain, fast))
    assert before._compiled_call_impl is None
    assert after.kernel is before.kernel


def test_a_pipeline_that_is_not_compiled_draws_no_request_that_is() -> None:
    asked = Request(prompts=("a tree",), compiled=True)
    with pytest.raises(RequestError, match="not loaded with the compiled True"):
        sf.load("toy")(asked)
    assert sf.load("toy", compiled=True)(asked).request.compiled


def test_a_compiled_picture_is_compiled_again_only_when_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["generate", "a tree", "--seed", "3", "--compiled", "-o", "x.png"]) == 0
    assert "compiled at its first step, which takes minutes" in capsys.readouterr().err
    history = read(Path("x.png"))[1]
    assert history.ours is not None
    assert history.ours["request"]["compiled"] is True  # type: ignore[index, call-overload]
    asked: list[System] = []
    monkeypatch.setattr(opened_model, "compiled", lambda model: asked.append(model) or compiled(model))
    assert main.run(["replay", "x.png"]) == 0
    out, err = capsys.readouterr()
    assert (out, len(asked)) == ("identical\n", 0)
    assert "drawn by a compiled network, which may round otherwise: --compiled compiles it" in err
    assert main.run(["replay", "x.png", "--compiled", "-o", "y.png"]) == 0
    assert capsys.readouterr().out == "identical\ny.png\n"
    assert len(asked) == 1
    assert Image.open("y.png").info == Image.open("x.png").info


def test_where_nothing_can_be_compiled_one_line_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> object:
        raise RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: No working C++ compiler found.\n\nMore.")

    monkeypatch.setattr(torch, "compile", fail)
    assert main.run(["generate", "a tree", "--compiled", "-o", "x.png"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "cannot compile here (InvalidCxxCompiler: No working C++ compiler found)" in told
    assert not Path("x.png").exists()
