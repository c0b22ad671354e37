"""Hostile settings for every recipe: each call succeeds or ends in one answer, and nothing that exists is changed."""

import io
import os
import random
import string
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

from scorefield import zoo
from scorefield.api import loading
from scorefield.cli.main import run as main
from scorefield.errors import ScorefieldError
from scorefield.request import ModelChoice
from scorefield.train import loop
from scorefield.train import recipe as recipes

ROOT = Path(__file__).parents[1]
FILES = [path for path in sorted((ROOT / "recipes").glob("*.py")) if "\ndef recipe(" in path.read_text("utf-8")]
NUMBERS = [
    "-1", "0", "1", "2", "1.5", "-0.0", "1e3", "1e-300", "1e400", "nan", "-inf", "NaN", "0x10", "1_000", " 3 ", "١٢",
    "½", "9" * 30, "-" + "9" * 30, "True", "None", "null", "[]", "{}", "2**31",
    "1" + "0" * 5000, str(2**31), str(2**32), str(2**64),
]  # fmt: skip
TEXTS = [
    "", " ", "\t", "\n", "a\nb", "\x1b[31mred\x1b[0m", "\u202ecod", "\ud800", "\udcff", "a\0b", "'", '"', "--steps",
    "-", "=", "a=b", "%s%n", "{}", "{0.__class__}", "../../etc/passwd", "/dev/stdin", "/dev/zero",
    "~", "~root", "*", "x" * 5000,
    "é" * 300, "🎈", "con", "file:///etc/passwd", "http://localhost/", "\\\\server\\share",
    ".", "..", "/",
]  # fmt: skip
PATHS = ["fifo", "novel.txt", "folder", "loop", "nowhere/deep", "socket"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with things that a setting may name, as the current one."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "novel.txt").write_text("It was a dark and stormy night.")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _value(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.5:
        return draw.choice(NUMBERS)
    if kind < 0.8:
        return draw.choice(TEXTS)
    if kind < 0.9:
        return draw.choice(PATHS)
    return "".join(draw.choices(string.printable + "\x00\x85\u200b\ufeff", k=draw.randrange(12)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_hostile_setting_is_read_or_refused(path: Path, folder: Path) -> None:
    """Every name with every number and text, and pairs drawn at random: about 1,500 calls over all the recipes."""
    function, draw = recipes.read(path), random.Random(path.stem)
    names = list(recipes.settings(function, {}))
    given = [{name: value} for name in names for value in (*NUMBERS, *TEXTS, *PATHS)]
    given += [{draw.choice([*names, _value(draw)]): _value(draw) for _ in range(3)} for _ in range(50)]
    answers: list[str] = []
    for settings in given:
        try:
            values = recipes.settings(function, settings)
        except ScorefieldError as error:
            answers.append(str(error))
        except OSError:  # a path that is too long
            assert any(len(value) > 255 for value in settings.values())
        else:
            assert values.keys() == set(names)
            assert all(abs(value) < 2**63 for value in values.values() if isinstance(value, (int, float)))
    assert len(answers) > len(given) / 4
    assert [line for line in answers if len(line) > 400 or not line.isprintable()] == []


def test_what_is_accepted_trains(folder: Path) -> None:
    """The tiny recipe with 40 settings drawn at random: two steps, or one answer."""
    function, draw = recipes.read(ROOT / "recipes" / "tiny.py"), random.Random(0)
    trained = 0
    for _ in range(40):
        given = {name: _value(draw) for name in ("width", "lr", "batch", "seed") if draw.random() < 0.4}
        try:
            recipe = function(**recipes.settings(function, given))
            if recipe.batch > 100:
                continue  # it would train, but not in a moment
            run = loop.start(recipe, torch.device("cpu"))
            trained += len(list(loop.train(recipe, run, [0.01], torch.device("cpu"), torch.float32, 2)))
        except ScorefieldError:
            continue
    assert trained > 5


def test_a_hostile_word_is_learned_or_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual inversion of the embedded model, up to its first batch; the model is loaded once."""
    function, draw, model = (
        recipes.read(ROOT / "recipes" / "textual_inversion.py"),
        random.Random(2),
        zoo.load(ModelChoice(model="scenes")),
    )
    monkeypatch.setattr(loading, "load_system", lambda choice: model)
    monkeypatch.setitem(function.__globals__, "latents", lambda *given: torch.zeros(1, 8, 16, 16))
    begun, answers = 0, list[str]()
    for _ in range(150):
        wrong = {name: _value(draw) for name in ("token", "init", "vectors", "style", "seed") if draw.random() < 0.3}
        try:
            recipe = function(**recipes.settings(function, {"batch": "1"} | wrong))
            begun += len(next(recipe.batches(0)))
        except ScorefieldError as error:
            answers.append(str(error))
    assert begun > 30
    assert len(answers) > 30
    assert not [line for line in answers if "\n" in line]


def test_a_hostile_command_line_is_one_line_and_changes_nothing(folder: Path) -> None:
    """The command itself, with a setting or an option that is refused before anything is built."""
    draw = random.Random(1)
    options = [
        "--threads",
        "--steps",
        "--log-every",
        "--save-every-minutes",
        "--device",
        "--precision",
        "--set",
        "--nope",
    ]
    recipe = str(ROOT / "recipes" / "tiny.py")
    before = _listing(folder)
    for _ in range(150):
        wrong = [
            draw.choice(options),
            draw.choice(["-1", "9" * 25, "nan", "", "x", "\x1b[2J", "width=-1", "lr=nan", "a=b"]),
        ]
        name = draw.choice([recipe, recipe, "tinny", "fifo", "folder", "novel.txt", "\x1b[31m", "x" * 300])
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["train", name, "--output", "folder/run", *wrong])
        assert code in (1, 2), wrong
        (line,) = err.getvalue().splitlines()
        assert line.startswith("error: ")
        assert "\x1b" not in line
        assert out.getvalue() == ""
    assert _listing(folder) == before


def _listing(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}
