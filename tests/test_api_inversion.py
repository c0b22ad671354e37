"""Textual inversions from Python and the command line: loaded, told, recorded, replayed, or one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import scorefield as sf
from scorefield.api import Pipeline
from scorefield.cli.main import run
from scorefield.errors import RequestError
from scorefield.files.picture import read
from scorefield.notes import UnknownWordsWarning
from scorefield.request import Embedding, parse

pytestmark = pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning")

SMALL = {"steps": 2, "size": 32, "seed": 3}
TINY = ["--steps", "2", "--size", "32", "--seed", "3"]
PROMPT = "a <birb> in the snow"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "birb.bin"
    torch.save({"<birb>": 0.3 * torch.randn(2, 256, generator=torch.Generator().manual_seed(0))}, path)
    return path


@pytest.fixture(scope="module")
def plain() -> Pipeline:
    return sf.load()


def pixels(pipe: Pipeline, prompt: str) -> np.ndarray:
    return np.asarray(pipe(prompt, steps=2, size=32, seed=3).image)


def test_a_word_changes_its_own_prompts_and_no_others(file: Path, plain: Pipeline) -> None:
    taught = sf.load(embeddings=[str(file)])
    with pytest.warns(UnknownWordsWarning, match="birb"):
        before = pixels(plain, PROMPT)
    assert (pixels(taught, PROMPT) != before).any()
    assert (pixels(taught, "a cat in the snow") == pixels(plain, "a cat in the snow")).all()
    (word,) = taught.embeddings
    assert (word.token, word.vectors, word.path) == ("<birb>", 2, str(file))
    assert plain.embeddings == ()


@pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownWordsWarning")
def test_a_pipeline_can_be_taught_and_gone_back_from(file: Path, plain: Pipeline) -> None:
    taught = plain.with_embeddings([("<other>", file)])
    assert [one.token for one in taught.embeddings] == ["<other>"]
    assert taught.stage.denoiser is plain.stage.denoiser
    wanted = pixels(plain.with_embeddings(file), PROMPT)
    assert (pixels(taught, "a <other> in the snow") == wanted).all()
    assert (pixels(plain, PROMPT) != wanted).any()
    again = taught.with_embeddings([])
    assert again.embeddings == ()
    assert (pixels(again, "a <other>") == pixels(plain, "a <other>")).all()


def test_the_ways_to_say_an_embedding(file: Path) -> None:
    says = {
        "dir/birb.pt": ("dir/birb.pt", None), "<b>=dir/birb.pt": ("dir/birb.pt", "<b>"),
        "x/step=5/birb.pt": ("x/step=5/birb.pt", None), "b=x=1.pt": ("x=1.pt", "b"),
    }  # fmt: skip
    for said, (path, token) in says.items():
        assert parse({"prompt": "", "embedding": said}).embeddings == (Embedding(path=path, token=token),)
    assert parse({"prompt": "", "embeddings": [file, ("<b>", file)]}).embeddings == (
        Embedding(path=str(file)), Embedding(path=str(file), token="<b>")
    )  # fmt: skip
    for wrong in ("<b>=", "=birb.pt", 3, [("<b>", "p", "q")]):
        with pytest.raises(RequestError, match="embeddings must be PATH, or TOKEN=PATH"):
            parse({"prompt": "", "embeddings": wrong})


def test_a_request_is_for_the_words_that_it_names(file: Path, plain: Pipeline) -> None:
    request = parse({"prompt": PROMPT, "embeddings": [str(file)], **SMALL})
    taught = plain.with_embeddings([str(file)])
    plan = taught.plan(request)
    (recorded,) = plan.request.embeddings
    assert (recorded.path, recorded.token) == (str(file), "<birb>")
    assert recorded.sha256 == taught.embeddings[0].sha256
    taught.plan(plan.request)
    with pytest.raises(RequestError, match="not loaded with the embeddings"):
        plain.plan(request)


def test_a_picture_records_its_words_and_is_drawn_again(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "birb.bin"
    shutil.copy(file, own)
    drawn = tmp_path / "p.png"
    assert run(["generate", PROMPT, *TINY, "--embedding", str(own), "--embedding", f"<b>={own}", "-o", str(drawn)]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "vectors" in line] == [f"<birb>: 2 vectors of {own}", f"<b>: 2 vectors of {own}"]
    _, history = read(drawn)
    assert history.ours is not None
    recorded = json.loads(json.dumps(history.ours))["request"]["embeddings"]
    assert [one["token"] for one in recorded] == ["<birb>", "<b>"]
    assert history.a1111 is not None
    assert history.a1111.pairs["TI hashes"] == ", ".join(f"{one['token']}: {one['sha256'][:10]}" for one in recorded)
    assert run(["replay", str(drawn)]) == 0
    assert capsys.readouterr().out == "identical\n"
    torch.save({"<birb>": torch.ones(2, 256)}, own)
    assert run(["replay", str(drawn)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"error: {own} has changed: its hash is ")
    own.unlink()
    assert run(["replay", str(drawn)]) == 1
    way = "if it was moved, give its new path with --embedding"
    assert capsys.readouterr().err == f"error: {own}: no such file or folder; {way}\n"


def test_a_textual_inversion_that_was_moved_is_known_again_for_each_of_its_words(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, drawn, again = tmp_path / "birb.bin", tmp_path / "p.png", tmp_path / "again.png"
    shutil.copy(file, own)
    both = ["--embedding", str(own), "--embedding", f"<b>={own}"]
    assert run(["generate", PROMPT, *TINY, *both, "-o", str(drawn), "-q"]) == 0
    moved = own.rename(tmp_path / "elsewhere.bin")
    capsys.readouterr()
    assert run(["replay", str(drawn), "--embedding", str(moved), "-o", str(again)]) == 0
    assert capsys.readouterr().out == f"identical\n{again}\n"
    _, history = read(again)
    assert history.ours is not None
    recorded = json.loads(json.dumps(history.ours))["request"]["embeddings"]
    assert [(one["path"], one["token"]) for one in recorded] == [(str(moved), "<birb>"), (str(moved), "<b>")]


def test_a_wrong_file_is_one_line_and_draws_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide = tmp_path / "wide.bin"
    torch.save({"<wide>": torch.ones(768)}, wide)
    folder = tmp_path / "out"
    assert run(["generate", "a <wide>", *TINY, "--embedding", str(wide), "-o", str(folder / "p.png")]) == 2
    assert capsys.readouterr().err == (
        "error: the vectors of '<wide>' have 768 numbers, those of this model 256: the word was learned with another "
        "model\n"
    )
    assert not folder.exists()


def test_inspect_tells_of_an_embedding(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(file)]) == 0
    told = capsys.readouterr().out
    assert "textual inversion" in told
    assert "token <birb>" in told
    assert "vectors 2" in told
