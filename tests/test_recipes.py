"""The recipes: each trains two steps and writes its file; the files that ship are what they should be."""

import hashlib
import inspect
import json
import math
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from scorefield.cli.train import command
from scorefield.data.phrases import PLACES
from scorefield.data.sprites import SHEET
from scorefield.data.vocabulary import words
from scorefield.errors import RequestError
from scorefield.families.scenes import build_scenes
from scorefield.nets.clip import Clip
from scorefield.prompt import tokenizer
from scorefield.prompt.bpe import MERGES
from scorefield.prompt.tokenizer import WordTokenizer
from scorefield.train import recipe as recipes
from scorefield.train import run
from scorefield.train.recipe import Recipe
from scorefield.weights import scorefield_file

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "recipes"
MIB = 2**20
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SHA256 = "e5899ed38b8ed83e08bd3ac5de09791e9d19d288333a796de1d35ad17396f1ec"  # of Debian's 2.042-0+deb12u1

SETTINGS = {  # of two steps; the networks are those that ship
    "autoencoder": {"batch": "2"},
    "clip": {"batch": "4"},
    "film": {"batch": "2", "count": "4", "frames": "5"},
    "film_autoencoder": {"batch": "1", "frames": "5"},
    "generator": {"batch": "2", "count": "4"},
    "judge": {"batch": "2"},
    "textual_inversion": {"batch": "2", "images": "docs/images/traffic-light"},
    "tiny": {"batch": "2"},
}
FEW = {
    "psnr": 32,
    "film_psnr": 1,
    "film_statistics": 2,
    "codec": 32,
    "naming": 32,
    "sights": 3,
    "fooled": 1,
}  # scenes for a recipe's evaluations, instead of hundreds
FEW_PLACES = dict(list(PLACES.items())[:2])  # in which a thing is named
SHIPPED = ("autoencoder", "clip", "film-autoencoder", "generator", "judge")


def _of_few(whole: Callable[..., object], count: int) -> Callable[..., object]:
    """The evaluation with another `count`, whatever it is called with."""

    def few(*given: object, **more: object) -> object:
        bound = inspect.signature(whole).bind(*given, **more)
        bound.arguments["count"] = count
        return whole(*bound.args, **bound.kwargs)

    return few


def _recipe(name: str, monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str]) -> Recipe[nn.Module]:
    """A recipe from its file as the command reads it, its evaluations cut to a few scenes."""
    function = recipes.read(FOLDER / f"{name}.py")
    names = function.__globals__
    for counted in FEW.keys() & names.keys():
        monkeypatch.setitem(names, counted, _of_few(names[counted], FEW[counted]))
    if "PLACES" in names:
        monkeypatch.setitem(names, "PLACES", FEW_PLACES)
    return function(**recipes.settings(function, settings))


def _train(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: str) -> Path:
    """Two steps and the file that they end in."""
    settings = SETTINGS[name] | ({"bank": str(folder / "bank")} if name in ("film", "generator") else {}) | more
    options = run.Options(folder=folder, steps=2, device=torch.device("cpu"), dtype=torch.float32)
    made = run.execute(_recipe(name, monkeypatch, settings), options)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2]
    assert all(math.isfinite(value) for line in lines for value in line.values() if isinstance(value, float))
    return made


def test_every_recipe_is_tried_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.py") if "\ndef recipe(" in path.read_text()} == SETTINGS.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_takes_two_steps_and_writes_the_file_that_ships(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem = name.replace("-", "_")
    path = _train(stem, tmp_path, monkeypatch)
    assert path == tmp_path / f"scenes-{name}.safetensors"
    tensors, header = scorefield_file.load(path, name)
    shipped, wanted = scorefield_file.load(build_scenes.ASSETS / path.name, name)
    assert all(value.isfinite().all() for value in tensors.values())
    shapes, before = ({key: tuple(value.shape) for key, value in some.items()} for some in (tensors, shipped))
    assert shapes.keys() == before.keys()
    grown = {key for key in shapes if shapes[key] != before[key]}  # they count words, things, colours or places
    assert grown <= {"text.tokens.weight", "read.weight", "read.bias", "place.weight", "place.bias"}
    assert all(shapes[key][1:] == before[key][1:] and shapes[key][0] > before[key][0] for key in grown)
    assert (header.step, header.samples) == (2, 2 * int(SETTINGS[stem]["batch"]))
    assert header.notes.keys() == wanted.notes.keys()
    if name != "generator":  # whose figures are the judge's of its pictures, which the recipe does not draw
        assert header.figures.keys() >= wanted.figures.keys()
        assert all(math.isfinite(value) for value in header.figures.values())


def test_every_training_command_of_the_docs_is_understood() -> None:
    lines = re.findall(r"^scorefield (train .+)$", (ROOT / "docs" / "training.md").read_text("utf-8"), re.MULTILINE)
    names = set()
    for line in lines:
        given = command.make_context("train", shlex.split(line)[1:]).params
        path = recipes.find(given["name"])
        names.add(path.stem)
        recipes.settings(recipes.read(path), given["given"])
    assert names == SETTINGS.keys()


def test_the_tiny_recipe_takes_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _train("tiny", tmp_path, monkeypatch) == tmp_path / "tiny.safetensors"


@pytest.mark.parametrize(
    ("name", "setting", "locked"),
    [("autoencoder", "decoder_only", "decoder"), ("clip", "image_only", "vision")],
)
def test_with_one_half_locked_only_the_other_learns(
    name: str, setting: str, locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build_scenes.ASSETS / f"scenes-{name}.safetensors"
    held, _ = scorefield_file.load(before, name)
    tensors, _ = scorefield_file.load(_train(name, tmp_path, monkeypatch, **{setting: str(before)}), name)
    changed = {key for key in held if not torch.equal(tensors[key], held[key])}
    learnt = "autoencoder.decoder." if name == "autoencoder" else ("vision.", "logit_scale")
    assert changed
    assert all(key.startswith(learnt) for key in changed), sorted(changed)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The file of a pair that knows every second word, with its tokenizer in its folder."""
    some = tokenizer.build(words()[::2])
    some.save(tmp_path / build_scenes.TOKENIZER)
    sizes = build_scenes.clip(empty=True).config
    config = replace(sizes, text=replace(sizes.text, vocab_size=len(some)))
    header = scorefield_file.Header(kind="clip", config=asdict(config))
    return scorefield_file.save(tmp_path / "scenes-clip.safetensors", Clip(config).state_dict(), header)


def test_a_clip_that_learns_new_words_begins_with_the_states_of_the_words_that_it_knew(
    earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = WordTokenizer.from_file(earlier.parent / build_scenes.TOKENIZER), tokenizer.build(words())
    prompts = [" ".join(words()[:20:2]), words()[40], ""]
    module = _recipe("clip", monkeypatch, SETTINGS["clip"] | {"start": str(earlier)}).build()
    old = build_scenes.clip(earlier.parent)
    with torch.no_grad():
        (ids, mask), (their_ids, their_mask) = ours.encode(prompts), theirs.encode(prompts)
        assert not torch.equal(ids, their_ids)
        assert torch.equal(module.text_hidden(ids, mask), old.text_hidden(their_ids, their_mask))


@torch.no_grad()
def test_what_a_new_clip_must_keep_ends_at_the_first_new_word(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = _recipe("clip", monkeypatch, SETTINGS["clip"] | {"start": str(earlier)})
    module, names, ours = recipe.build(), recipe.loss.__globals__, tokenizer.build(words())
    pair = names["read_earlier"](earlier, module.config, ours)
    ids, mask = ours.encode([" ".join(words()[k] for k in (0, 2, 3, 4))])  # of which the third is new
    hidden = module.text_hidden(ids, mask)
    late, early = hidden.clone(), hidden.clone()
    late[:, 3:] += 1  # after <start> and two words
    early[:, 2] += 1
    assert float(names["drift"](hidden, ids, mask, pair)) == 0
    assert float(names["drift"](late, ids, mask, pair)) == 0
    assert float(names["drift"](early, ids, mask, pair)) > 0.01


def test_a_clip_begins_with_one_file(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="start and image_only both give"):
        _recipe("clip", monkeypatch, {"start": str(earlier), "image_only": str(earlier)})


def test_a_generator_continues_from_shipped_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = build_scenes.ASSETS / build_scenes.GENERATOR
    settings = {"start": str(shipped), "bank": str(tmp_path / "bank"), "count": "4"}
    module = _recipe("generator", monkeypatch, settings).build()
    held, _ = scorefield_file.load(shipped, "generator")
    assert [key for key, value in module.state_dict().items() if not torch.equal(value, held[key].float())] == []


def test_the_latents_of_a_generator_are_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SETTINGS["generator"] | {"bank": str(tmp_path / "bank")}
    first = next(_recipe("generator", monkeypatch, settings).batches(0))
    again = _recipe("generator", monkeypatch, settings)
    monkeypatch.setitem(again.build.__globals__, "render", None)
    second = next(again.batches(0))
    assert first["x0"].isfinite().all()
    assert first["x0"].shape == (2, 8, 16, 16)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.skipif(
    not FONT.exists() or hashlib.sha256(FONT.read_bytes()).hexdigest() != FONT_SHA256,
    reason="not installed here: the font of the sheet, Debian's fonts-noto-color-emoji 2.042-0+deb12u1",
)
def test_the_font_gives_the_sheet_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = runpy.run_path(str(FOLDER / "sprites.py"))
    monkeypatch.setitem(names["main"].__globals__, "SHEET", tmp_path / "sprites.webp")
    monkeypatch.setattr(sys, "argv", ["sprites.py", "--font", str(FONT)])
    names["main"]()
    drawn, shipped = (np.asarray(Image.open(path)) for path in (tmp_path / "sprites.webp", SHEET))
    assert drawn.shape == shipped.shape
    assert np.array_equal(drawn, shipped)


def test_clip_writes_the_tokenizer_of_the_grammar_next_to_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, _ = scorefield_file.load(_train("clip", tmp_path, monkeypatch), "clip")
    tokenizer = WordTokenizer.from_file(tmp_path / build_scenes.TOKENIZER)
    assert tokenizer.spelt() == words()
    assert len(tensors["text.tokens.weight"]) == len(tokenizer)


def test_the_grammar_has_all_words_of_the_tokenizer_that_ships() -> None:
    assert set(WordTokenizer.from_file(build_scenes.ASSETS / build_scenes.TOKENIZER).spelt()) <= set(words())


def test_what_ships_fits_its_limits() -> None:
    sizes = {path.name: path.stat().st_size for path in build_scenes.ASSETS.iterdir()}
    weights = {f"scenes-{name}.safetensors" for name in SHIPPED}
    assert weights | {build_scenes.TOKENIZER, SHEET.name, MERGES.name} == sizes.keys()
    assert max(sizes.values()) <= 16 * MIB
    assert sum(sizes.values()) <= 64 * MIB


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_ship_in_half_precision_with_their_figures(name: str) -> None:
    tensors, header = scorefield_file.load(build_scenes.ASSETS / f"scenes-{name}.safetensors", name)
    assert all(value.isfinite().all() for value in tensors.values())
    assert {value.dtype for value in tensors.values() if value.is_floating_point()} == {torch.float16}
    assert header.step > 0
    assert header.samples > 0
    assert header.figures, f"the header of scenes-{name}.safetensors does not say how good it is"
    assert all(math.isfinite(value) for value in header.figures.values())
