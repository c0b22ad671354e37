"""The recipe of textual inversion for Stable Diffusion XL: vectors for both encoders, in the file that others read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests import pipelines
from tests.loading import with_embeddings
from tests.tiny import TINY_XL
from torch import Tensor

from scorefield import api
from scorefield.model.system import System
from scorefield.prompt.conditioner import PromptBatch
from scorefield.prompt.sdxl import XlConditioner
from scorefield.train import loop
from scorefield.train import recipe as recipes
from scorefield.train.recipe import Progress

PICTURES = Path(__file__).parents[1] / "docs" / "images" / "traffic-light"
CPU = torch.device("cpu")
GIVEN = {"images": str(PICTURES), "token": "<light>", "vectors": "2", "batch": "2", "size": "64", "init": "cat"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("xl")
    pipelines.written_xl(path, TINY_XL)
    return str(path / "model")


def weights(model: System) -> dict[str, Tensor]:
    """Every weight of a model that training could reach."""
    assert isinstance(model.stages[0].conditioner, XlConditioner)
    nets = {
        "unet": model.stages[0].denoiser,
        "1": model.stages[0].conditioner.first.encoder,
        "2": model.stages[0].conditioner.second.encoder,
    }
    return {f"{part}.{name}": value for part, net in nets.items() for name, value in net.state_dict().items()}


def test_both_encoders_learn_the_word_and_nothing_else_changes(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipes: list[api.Pipeline] = []
    load = api.load
    monkeypatch.setattr(api, "load", lambda name: pipes.append(load(name)) or pipes[-1])
    function = recipes.read(recipes.find("textual-inversion"))
    monkeypatch.setitem(function.__globals__, "MEASURED", 4)
    recipe = function(**recipes.settings(function, GIVEN | {"model": folder, "lr": "0.05"}))
    model = pipes[0].system
    before = {name: value.clone() for name, value in weights(model).items()}
    run = loop.start(recipe, CPU)
    start = [one.detach().clone() for one in run.module.parameters()]
    list(loop.train(recipe, run, [0.05], CPU, torch.float32, 30))
    assert recipe.evaluate is not None
    with torch.no_grad(), run.average.applied():
        figures = recipe.evaluate(run.module)
    assert figures["loss"] < figures["loss_at_start"]
    assert [one.shape for one in start] == [(2, 32), (2, 32)]
    assert all(((one - two).norm(dim=1) > 0.05).all() for one, two in zip(run.module.parameters(), start, strict=True))
    assert [name for name, value in weights(model).items() if not torch.equal(value, before[name])] == []

    with torch.no_grad(), run.average.applied():
        path = recipe.finish(run.module, Progress(folder=tmp_path, step=30, samples=60, seconds=1.0, figures=figures))
    held = load_file(path)
    assert {name: tuple(one.shape) for name, one in held.items()} == {"clip_l": (2, 32), "clip_g": (2, 32)}
    assert all(
        torch.equal(held[name], one)
        for name, one in zip(("clip_l", "clip_g"), run.average.tensors().values(), strict=True)
    )
    (word,) = with_embeddings(model, [(str(path), None)]).embeddings
    assert (word.token, word.vectors) == ("<light>", 2)


@torch.no_grad()
def test_the_word_is_read_in_training_as_it_is_read_in_a_prompt(folder: str) -> None:
    made = recipes.read(recipes.find("textual-inversion")).__globals__
    model, conditioner, start = made["load"](folder, "<light>", 2, None)
    caption = "a photo of a <light>, in the snow"
    read = made["condition"](conditioner, start, made["encoded"](conditioner, [caption]), 72).tensors()
    batch = PromptBatch(prompts=[caption], negative_prompt="", seeds=[1], width=72, height=72)
    asked, plain = (one.pair(batch)[0].tensors() for one in (conditioner, model.stage.conditioner))
    assert read.keys() == asked.keys() == {"tokens", "pooled"}
    for name, value in read.items():
        assert value.isfinite().all()
        torch.testing.assert_close(value, asked[name], rtol=0, atol=1e-6)
        assert (value - plain[name]).abs().max() > 1e-2
