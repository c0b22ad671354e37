"""The recipe of textual inversion: only the vectors change, the loss falls, and a resumed run is the whole one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from docs.notebooks.tiny_stable import tiny_stable
from safetensors import safe_open
from safetensors.torch import load, load_file
from torch import nn

import scorefield as sf
from scorefield import api
from scorefield.cli.main import run as main
from scorefield.cli.train import command
from scorefield.errors import UnsupportedError
from scorefield.model.system import System
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.text import TextConditioner
from scorefield.train import loop
from scorefield.train import recipe as recipes
from scorefield.train.recipe import Recipe

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "images" / "traffic-light"
CPU = torch.device("cpu")
FEW = {"images": str(PICTURES), "token": "<Traffic-Light>", "vectors": "2", "batch": "2"}


@pytest.fixture(autouse=True)
def few_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe's figures are of 4 noisy pictures, instead of 32."""
    read = recipes.read

    def reading(path: Path) -> Callable[..., Recipe[nn.Module]]:
        function = read(path)
        function.__globals__["MEASURED"] = 4
        return function

    monkeypatch.setattr(recipes, "read", reading)


def _recipe(**settings: str) -> Recipe[nn.Module]:
    function = recipes.read(recipes.find("textual-inversion"))
    return function(**recipes.settings(function, FEW | settings))


def _train(folder: Path, *more: str, settings: dict[str, str]) -> Result:
    return CliRunner().invoke(command, [*_words(folder, FEW | settings), *more])


def _words(folder: Path, settings: dict[str, str]) -> list[str]:
    given = [one for name, value in settings.items() for one in ("--set", f"{name}={value}")]
    return ["textual-inversion", *given, "--device", "cpu", "--precision", "float32", "--output", str(folder)]


def test_a_word_is_learned_in_a_file_that_others_read(tmp_path: Path) -> None:
    done = _train(tmp_path / "run", "--steps", "2", settings={"init": "book"})
    assert done.exit_code == 0, done.output
    path = tmp_path / "run" / "traffic-light.safetensors"
    assert done.output.splitlines()[-1] == str(path)
    held = load_file(path)
    assert held.keys() == {"<Traffic-Light>"}
    assert held["<Traffic-Light>"].shape == (2, 256)
    assert held["<Traffic-Light>"].isfinite().all()
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["textual_inversion"])
    assert (facts["model"], facts["init"], facts["pictures"], facts["step"], facts["samples"]) == (
        "scenes",
        "book",
        5,
        2,
        4,
    )
    assert facts["figures"].keys() == {"loss", "loss_at_start"}
    assert [word.vectors for word in sf.load(embeddings=[str(path)]).embeddings] == [2]


def test_a_run_made_longer_is_the_run_that_was_long_from_the_start(tmp_path: Path) -> None:
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    for folder, steps in ((whole, "8"), (halved, "4"), (halved, "8")):
        done = _train(folder, "--steps", steps, settings={})
        assert done.exit_code == 0, done.output
    assert "resumes from step 2" in done.output
    for name in ("state.safetensors", "traffic-light.safetensors"):
        first, second = load_file(whole / name), load_file(halved / name)
        assert first.keys() == second.keys()
        assert all(value.isfinite().all() for value in first.values())
        assert [key for key in first if not torch.equal(first[key], second[key])] == []


def test_the_loss_falls_and_only_the_vectors_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipes: list[api.Pipeline] = []
    load = api.load
    monkeypatch.setattr(api, "load", lambda name: pipes.append(load(name)) or pipes[-1])
    folder = str(tiny_stable(tmp_path / "tiny"))
    recipe = _recipe(model=folder, size="64", lr="0.05", init="cat")
    model = pipes[0].system
    before = {name: value.clone() for name, value in _weights(model).items()}
    run = loop.start(recipe, CPU)
    start = run.module.get_parameter("vectors.0").detach().clone()
    list(loop.train(recipe, run, [0.05], CPU, torch.float32, 30))
    assert recipe.evaluate is not None
    with torch.no_grad(), run.average.applied():
        figures = recipe.evaluate(run.module)
    assert figures["loss"] < figures["loss_at_start"]
    assert [name for name, _ in run.module.named_parameters()] == ["vectors.0"]
    assert ((run.module.get_parameter("vectors.0").detach() - start).norm(dim=1) > 0.05).all()
    assert len(before) > 100
    assert [name for name, value in _weights(model).items() if not torch.equal(value, before[name])] == []


def _weights(model: System) -> dict[str, torch.Tensor]:
    """Every weight of a model that training could reach."""
    assert isinstance(model.stages[0].conditioner, PublishedConditioner)
    parts = {"denoiser": model.stages[0].denoiser, "text": model.stages[0].conditioner.encoder}
    return {f"{part}.{name}": value for part, net in parts.items() for name, value in net.state_dict().items()}


def test_a_caption_with_words_that_the_model_never_saw_is_left_out() -> None:
    batch = next(_recipe(batch="64").batches(0))
    pipe = sf.load()
    assert isinstance(pipe.stage.conditioner, TextConditioner)
    words = {row: word for word, row in pipe.stage.conditioner.tokenizer.vocabulary.items()}
    count = len(words)
    said = {
        " ".join(words.get(row, "*") for row in ids if words.get(row) != "<pad>") for ids in batch["ids_0"].tolist()
    }
    assert {"<start> a * * <end>", "<start> a photo of a * * <end>"} <= said
    assert all(one.count("*") == 2 for one in said)
    assert not any("rendering" in one for one in said)
    assert int(batch["ids_0"].max()) == count + 1


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"images": "nowhere"}, "there are no pictures in nowhere"),
        ({"token": "cat"}, "'cat' is already a word of this model"),
        ({"token": ""}, "--set token=: it should have at least 1 character"),
        ({"init": "zebra"}, "'zebra' is not one word"),
        ({"vectors": "31"}, "has 31 vectors; a prompt of this model has room for 30"),
        ({"vectors": "0"}, "--set vectors=0: it should be greater than or equal to 1"),
        ({"model": "scene"}, "no model 'scene'"),
        ({"size": "100"}, "--set size=100: the size must be a multiple of 16 for this model"),
        ({"size": "-16"}, "--set size=-16: it should be greater than or equal to 8"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, str], line: str
) -> None:
    assert _error(tmp_path / "run", settings, capsys).count(line) == 1
    assert not (tmp_path / "run").exists()


def test_a_model_that_knows_no_caption_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names = recipes.read(recipes.find("textual-inversion")).__globals__
    _, conditioner, _ = names["load"]("scenes", "<thing>", 1, None)
    assert names["known_captions"](conditioner, "<thing>", True) == ["a picture, <thing>"]
    monkeypatch.setitem(names, "STYLE", ("a lithograph, {}",))
    with pytest.raises(
        UnsupportedError, match="every caption has words that this model does not know, such as 'a lithograph, <thing>'"
    ):
        names["known_captions"](conditioner, "<thing>", True)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert _error(tmp_path / "run", {"images": str(tmp_path)}, capsys).startswith(str(tmp_path / "a.png"))


def _error(folder: Path, settings: dict[str, str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends in."""
    assert main(["train", *_words(folder, FEW | settings), "--steps", "2"]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line.removeprefix("error: ")


def test_the_same_run_writes_the_same_bytes(tmp_path: Path) -> None:
    """In processes of their own, since the order in which a library writes its header may differ between them."""
    code = "import sys; from scorefield.cli.main import run; sys.exit(run(sys.argv[1:]))"
    line = [sys.executable, "-c", code, "train", "--steps", "2"]
    folders = [tmp_path / name for name in "ab"]
    running = [subprocess.Popen([*line, *_words(folder, FEW | {"init": "book"})], cwd=ROOT) for folder in folders]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    assert len({(folder / "traffic-light.safetensors").read_bytes() for folder in folders}) == 1


def test_a_header_in_sorted_order_holds_the_same_tensors_and_texts() -> None:
    serialised = recipes.read(recipes.find("textual-inversion")).__globals__["serialised"]
    tensors = {"clip_l": torch.arange(6.0).reshape(2, 3), "clip_g": torch.full((1, 5), 0.1), "ü": torch.ones(())}
    texts = {str(k): "ü" * k for k in range(9)}
    made = {
        serialised(dict(pairs), texts) for pairs in (tensors.items(), list(tensors.items())[::-1]) for _ in range(4)
    }
    (data,) = made
    assert int.from_bytes(data[:8], "little") % 8 == 0
    held = load(data)
    assert held.keys() == tensors.keys()
    assert all(torch.equal(held[name], value) for name, value in tensors.items())
    end = 8 + int.from_bytes(data[:8], "little")
    assert json.loads(data[8:end])["__metadata__"] == texts
