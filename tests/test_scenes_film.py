"""The film model of our own: trained by its recipes, hidden until its files are there, drawn like any other."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests import test_recipes

import scorefield as sf
from scorefield.data.vocabulary import film_kinds
from scorefield.errors import DamagedError, RequestError
from scorefield.families.scenes import build_film, build_scenes
from scorefield.families.scenes.shipped import Scenes
from scorefield.nets.causal_vae import CausalVae
from scorefield.nets.video_dit import VideoDit
from scorefield.notes import UnknownSizeWarning
from scorefield.prompt.text import TextConditioner, UnmaskedTextConditioner
from scorefield.prompt.tokenizer import WordTokenizer
from scorefield.train import recipe as recipes
from scorefield.weights import scorefield_file
from scorefield.zoo import available, registry

MIB = 2**20
TINY_VAE = replace(build_film.VAE, width=8, decoder_width=8, multipliers=(1, 1))
TINY_DIT = replace(build_film.DIT, width=32, mlp_width=32, depth=1, heads=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of the embedded models, those of films from two steps of their recipes with tiny networks."""
    place = tmp_path_factory.mktemp("parts")
    for name in build_scenes.FILES:
        shutil.copy(build_scenes.ASSETS / name, place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_film, "VAE", TINY_VAE)
        patch.setattr(build_film, "DIT", TINY_DIT)
        path = test_recipes._train("film_autoencoder", place / "vae", patch)
        shutil.copy(path, place)
        shutil.copy(test_recipes._train("film", place / "dit", patch, parts=str(place)), place)
    return place


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipes build tiny networks."""
    monkeypatch.setattr(build_film, "VAE", TINY_VAE)
    monkeypatch.setattr(build_film, "DIT", TINY_DIT)


@pytest.fixture
def known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry knows the models of the folder in place of those that ship."""
    families = [Scenes(folder) if isinstance(one, Scenes) else one for one in registry.FAMILIES]
    monkeypatch.setattr(registry, "FAMILIES", families)


def test_the_networks_are_those_of_wan_and_fit_their_limits() -> None:
    with torch.device("meta"):
        transformer, autoencoder = VideoDit(build_film.DIT), CausalVae(build_film.VAE)
    sizes = [2 * sum(p.numel() for p in module.parameters()) / MIB for module in (transformer, autoencoder)]
    assert sizes[0] <= 14
    assert sizes[1] <= 7
    assert autoencoder.stride == (2, 8, 8)
    assert autoencoder.latent_shape(17, 128, 128) == (build_film.DIT.in_channels, 9, 16, 16)


def test_the_files_of_two_steps_hold_what_they_say(folder: Path) -> None:
    tensors, header = scorefield_file.load(folder / build_film.AUTOENCODER, "film-autoencoder")
    assert header.figures.keys() == {"heldout_psnr_db"}
    assert header.notes.keys() == {"mean", "deviation", "colours"}
    assert all(value.isfinite().all() for value in tensors.values())
    _, header = scorefield_file.load(folder / build_film.TRANSFORMER, "film")
    assert (header.step, header.samples) == (2, 4)
    assert header.notes["knows"] == {kind: [*phrases] for kind, phrases in film_kinds().items()}
    assert header.notes["words"] == WordTokenizer.from_file(build_scenes.ASSETS / build_scenes.TOKENIZER).spelt()


def test_the_film_model_is_hidden_until_both_files_are_there(folder: Path, tmp_path: Path) -> None:
    assert [*Scenes(folder).names] == ["scenes", "scenes-film"]
    for name in build_scenes.FILES:
        shutil.copy(folder / name, tmp_path)
    assert [*Scenes(tmp_path).names] == ["scenes"]
    shutil.copy(folder / build_film.TRANSFORMER, tmp_path)
    assert [spec.name for spec in Scenes(tmp_path).specs()] == ["scenes"]


@pytest.mark.usefixtures("known")
def test_a_film_is_drawn_by_name_with_the_defaults_of_the_model() -> None:
    spec = next(spec for spec in available() if spec.name == "scenes-film")
    assert "car" in spec.knows["things"]
    assert "drives" in spec.knows["motions"]
    pipe = sf.load("scenes-film")
    result = pipe("a car drives to the right", steps=2, seed=1)
    (drawn,) = result.films
    request = drawn.request
    assert (request.frames, request.fps, request.width, request.height) == (17, 8.0, 128, 128)
    assert request.negative_prompt == build_film.NEGATIVE_PROMPT
    assert (len(drawn.frames), drawn.frames[0].size, drawn.fps) == (17, (128, 128), 8.0)


@pytest.mark.usefixtures("known")
def test_frames_off_the_grid_name_the_nearest_that_work() -> None:
    with pytest.raises(RequestError, match="use 15 or 17"):
        sf.load("scenes-film").plan("a car", frames=16)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, []),
        ({"frames": 9}, []),
        ({"frames": 19}, ["trained on films of 17 frames; one of 19 may go wrong after them"]),
        (
            {"size": 256},
            ["trained on films of 128x128; one of 256x256 may show a thing several times, or a part of it"],
        ),
        ({"frames": 33, "size": 64}, ["trained on films of 128x128; one of 64x64 ", "trained on films of 17 frames; "]),
    ],
)
def test_a_film_unlike_those_of_training_says_so(options: dict[str, int], lines: list[str]) -> None:
    notes = sf.load("scenes-film").plan("a car drives to the right", **options).notes
    told = [one.text for one in notes if one.kind is UnknownSizeWarning]
    assert len(told) == len(lines)
    assert all(text.startswith(f"the model scenes-film was {line}") for text, line in zip(told, lines, strict=True))


def test_a_file_without_the_statistics_of_its_latents_is_refused(folder: Path, tmp_path: Path) -> None:
    tensors, header = scorefield_file.load(folder / build_film.AUTOENCODER, "film-autoencoder")
    for notes in ({}, {**header.notes, "mean": [0.0]}, {**header.notes, "colours": "grey"}):
        wrong = scorefield_file.Header(kind=header.kind, config=header.config, notes=notes)
        scorefield_file.save(tmp_path / build_film.AUTOENCODER, tensors, wrong)
        with pytest.raises(DamagedError, match="lacks the statistics"):
            build_film.codec(tmp_path)


def test_the_words_of_a_film_have_zeros_where_the_mask_hides_rows() -> None:
    masked = build_scenes.conditioner(build=TextConditioner)(["a car"])
    plain = build_scenes.conditioner(build=UnmaskedTextConditioner)(["a car"])
    assert masked.mask is not None
    assert masked.tokens is not None
    assert plain.tokens is not None
    assert plain.mask is None
    assert torch.equal(plain.tokens[masked.mask], masked.tokens[masked.mask])
    assert not plain.tokens[~masked.mask].any()


@pytest.mark.usefixtures("tiny")
def test_training_first_frames_gives_weights_that_films_start_from(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = test_recipes._train("film", tmp_path / "first", monkeypatch, parts=str(folder), frames="1")
    settings = test_recipes.SETTINGS["film"] | {"parts": str(folder), "bank": str(tmp_path / "b"), "start": str(first)}
    module = test_recipes._recipe("film", monkeypatch, settings).build()
    held, _ = scorefield_file.load(first, "film")
    assert all(torch.equal(value, held[name].float()) for name, value in module.state_dict().items())


@pytest.mark.parametrize(("frames", "told"), [("8", "such as 7"), ("21", "equal to 17")])
def test_recipes_take_no_part_of_a_film_that_there_is_not(frames: str, told: str) -> None:
    for name in ("film", "film_autoencoder"):
        with pytest.raises(RequestError, match=told):
            recipes.settings(recipes.read(test_recipes.FOLDER / f"{name}.py"), {"frames": frames})


@pytest.mark.usefixtures("tiny")
def test_a_resumed_run_equals_an_uninterrupted_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = test_recipes.run

    def train(to: Path, steps: int) -> Path:
        settings = test_recipes.SETTINGS["film"] | {"parts": str(folder), "bank": str(tmp_path / "bank")}
        options = run.Options(folder=to, steps=steps, device=torch.device("cpu"), dtype=torch.float32)
        return run.execute(test_recipes._recipe("film", monkeypatch, settings), options)

    train(tmp_path / "one", 2)
    resumed, whole = train(tmp_path / "one", 4), train(tmp_path / "two", 4)
    one, two = (scorefield_file.load(path, "film")[0] for path in (resumed, whole))
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
