"""One test for every family, and one for every face of events."""

import os
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from docs.notebooks.tiny_stable import tiny_stable
from safetensors.torch import save_file
from tests import strangers_film, strangers_tokens, strangers_two_stages, toy

import scorefield as sf
from scorefield.api import Film, Job, Picture, Pipeline, prepare
from scorefield.api.replay import read_record, replay_job, replayed
from scorefield.cli import common
from scorefield.cli.main import run
from scorefield.errors import UnsupportedError
from scorefield.families.scenes.shipped import Scenes
from scorefield.families.stable_diffusion.build import StableDiffusion
from scorefield.model.events import Event, Finished, Output, Step
from scorefield.request import parse
from scorefield.weights.checkpoint import Checkpoint
from scorefield.zoo import registry

FAMILIES = {
    "scenes": Scenes(),
    "folder": StableDiffusion(),
    "two-stages": strangers_two_stages.Family(),
    "toy-film": strangers_film.Family(),
    "toy-tokens": strangers_tokens.Family(),
}
PARTS = ("unet", "vae", "text_encoder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable(tmp_path_factory.mktemp("tiny"))


def pixels(media: Picture | Film) -> np.ndarray:
    return np.stack([np.asarray(one) for one in (media.frames if isinstance(media, Film) else [media.image])])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "FAMILIES", [*FAMILIES.values()])
    family = FAMILIES[name]
    save_file({"nobody.knows": torch.zeros(3)}, tmp_path / "odd.safetensors")
    assert family.recognise(Checkpoint(tmp_path / "odd.safetensors")) is None
    with pytest.raises(UnsupportedError, match="not a whole model"):
        sf.load(tmp_path / "odd.safetensors", device="cpu")
    if name == "folder":
        assert family.recognise(Checkpoint(folder)) is not None
    else:
        assert name in family.names
        assert family.recognise(Checkpoint(folder)) is None
    model = str(folder) if name == "folder" else name
    pipe = sf.load(model, device="cpu")
    options = {"size": 64, "steps": 1} if name == "folder" else {"steps": 1} if name == "scenes" else {}
    plan = pipe.plan("a tree", seed=3, count=2, **options)
    assert [batch.seeds for batch in plan.batches] == [(3, 4)]
    first, second = (event.media for event in pipe.job("a tree", seed=3, count=2, **options) if type(event) is Output)
    assert not np.array_equal(pixels(first), pixels(second))
    assert pixels(first).shape == (plan.canvas.frames, plan.canvas.height, plan.canvas.width, 3)
    if name == "folder":  # the one family that has two layouts
        one = sf.convert(folder, tmp_path / "one.safetensors")
        numbers = [sum(stored.numbers for stored in Checkpoint(folder).reader(part).tensors.values()) for part in PARTS]
        assert sum(stored.numbers for stored in Checkpoint(one).reader().tensors.values()) == sum(numbers)
    record = read_record(second.record())
    assert record.sha256 == pipe.system.sha256
    assert np.array_equal(pixels(replayed(record, replay_job(record))), pixels(second))


def picture_of_the_toy(folder: Path) -> Path:
    (path,) = Pipeline(toy.model())("a tree", seed=1, steps=3).save(folder / "x.png")
    return path


def by_pipeline(_: Path) -> list[Event]:
    return list(Pipeline(toy.model()).job("a tree", seed=1, steps=3))


def by_request(_: Path) -> list[Event]:
    return list(prepare(parse({"model": "toy", "prompt": "a tree", "seed": 1, "steps": 3, "device": "cpu"})))


def by_generate(_: Path) -> int:
    return run(["generate", "a tree", "-m", "toy", "--seed", "1", "--steps", "3", "-q", "--sheet", "-o", "new.png"])


def by_replay(path: Path) -> int:
    return run(["replay", str(path), "-q", "-o", "new.png"])


FACES: list[Callable[[Path], object]] = [by_pipeline, by_request, by_generate, by_replay]


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(registry, "FAMILIES", [toy.Toys()])
    monkeypatch.setattr(common, "physical_cores", torch.get_num_threads)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return picture_of_the_toy(tmp_path)


@pytest.mark.parametrize("face", FACES)
def test_a_face_of_events(face: Callable[[Path], object], toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Event] = []
    real = Job.__iter__

    def told(job: Job) -> Iterator[Event]:
        for event in real(job):
            seen.append(event)
            yield event

    monkeypatch.setattr(Job, "__iter__", told)
    face(toys)
    kinds = [kind for kind, _ in groupby(map(type, seen))]
    # replay needs one output and closes the job there
    assert kinds == [Step, Output, Finished][: 2 if face is by_replay else 3]
    progress = [event.progress for event in seen if isinstance(event, Step)]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0, 1)


@pytest.mark.parametrize("face", FACES)
def test_a_cancelled_face_leaves_nothing(
    face: Callable[[Path], object], toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    real = Job.__iter__

    def interrupted(job: Job) -> Iterator[Event]:
        events = real(job)
        for event in events:
            if isinstance(event, Step) and event.i == 1:
                job.close()
                closed.append(list(events) == [])
                raise KeyboardInterrupt
            yield event

    monkeypatch.setattr(Job, "__iter__", interrupted)
    if face in (by_generate, by_replay):
        assert face(toys) == 130
    else:
        with pytest.raises(KeyboardInterrupt):
            face(toys)
    assert closed == [True]
    assert os.listdir() == []
