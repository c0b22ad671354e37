"""The house is proven by strangers: systems that nothing in src/ knows of, each in one file, registered by one line."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from tests import strangers_film, strangers_tokens, strangers_two_stages

import scorefield as sf
from scorefield.api import Film, Picture, Pipeline
from scorefield.api.replay import read_record, replay_job, replayed
from scorefield.cli.main import run
from scorefield.errors import RequestError
from scorefield.model.events import Finished, Output, Step
from scorefield.zoo import register, registry

STRANGERS = {
    "two-stages": strangers_two_stages.Family(),
    "toy-film": strangers_film.Family(),
    "toy-tokens": strangers_tokens.Family(),
}
REFUSED = {
    "two-stages": (
        {"frames": 9},
        "frames is not an option of the model two-stages; it draws pictures; films need a film model",
    ),
    "toy-film": (
        {"image_prompt": "a.png"},
        "image_prompt is not an option of the model toy-film; give the picture as --image",
    ),
    "toy-tokens": ({"steps": 9}, "steps is not an option of the model toy-tokens"),
}


@pytest.fixture(params=STRANGERS)
def pipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(registry, "FAMILIES", list(registry.FAMILIES))
    register(STRANGERS[request.param])
    return sf.load(request.param, device="cpu")


def pixels(media: Picture | Film) -> np.ndarray:
    return np.stack([np.asarray(one) for one in (media.frames if isinstance(media, Film) else [media.image])])


def test_nothing_in_the_package_knows_of_them() -> None:
    source = "\n".join(path.read_text() for path in Path(sf.__file__).parent.rglob("*.py"))
    assert not [name for name in STRANGERS if name in source]


def test_it_plans_and_draws_what_depends_on_prompt_and_seed_alone(pipe: Pipeline) -> None:
    plan = pipe.plan("a tree", seed=3, count=3, batch_size=2)
    assert [len(batch.seeds) for batch in plan.batches] == [2, 1]
    drawn = [pixels(one) for one in pipe("a tree", seed=3, count=3, batch_size=2).media]
    alone = pixels(pipe("a tree", seed=4).media[0])
    assert np.array_equal(drawn[1], alone)
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(pixels(pipe("a red dog", seed=4).media[0]), alone)
    width, height = plan.canvas.width, plan.canvas.height
    assert drawn[0].shape == (plan.canvas.frames, height, width, 3)


def test_a_film_has_its_frames_and_a_system_of_two_stages_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FAMILIES", [*STRANGERS.values()])
    (film,) = sf.load("toy-film", device="cpu")("a tree", seed=0, frames=13, fps=4).films
    assert (len(film.frames), film.fps) == (13, 4)
    assert not np.array_equal(np.asarray(film.frames[0]), np.asarray(film.frames[12]))
    with pytest.raises(RequestError, match="frames 10 is not 4k"):
        sf.load("toy-film", device="cpu").plan("a tree", frames=10)
    pipe = sf.load("two-stages", device="cpu")
    assert pipe("a tree", size=48).image.size == (48, 48)
    assert {(step.stage, step.n) for step in pipe.stream("a tree", steps=3)} == {(0, 3), (1, 2)}


def test_its_events_come_in_order_and_progress_ends_at_1(pipe: Pipeline) -> None:
    events = list(pipe.job("a tree", seed=0, count=3, batch_size=2))
    kinds = [type(event) for event in events]
    assert kinds[-1] is Finished
    assert [kind for kind, _ in itertools.groupby(kinds)] == [Step, Output, Step, Output, Finished]
    progress = [event.progress for event in events if isinstance(event, Step)]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0, 1)
    assert [event.media.index for event in events if isinstance(event, Output)] == [0, 1, 2]


def test_it_is_cancelled_in_the_middle(pipe: Pipeline) -> None:
    job = pipe.job("a tree", seed=0, count=2, batch_size=1)
    for event in job:
        if isinstance(event, Step) and event.i == 1:
            job.close()
    assert list(job) == []


def test_its_record_leads_to_the_identical_output(pipe: Pipeline) -> None:
    result = pipe("a tree", seed=7, count=3, batch_size=2)
    for one in result.media:
        record = read_record(json.loads(json.dumps(one.record())))
        again = replayed(record, replay_job(record))
        assert np.array_equal(pixels(again), pixels(one))
        assert (again.prompt, again.seed) == (one.prompt, one.seed)


def test_an_option_that_it_does_not_take_is_refused_by_name(pipe: Pipeline) -> None:
    options, line = REFUSED[pipe.system.name]
    with pytest.raises(RequestError) as caught:
        pipe("a tree", **options)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("name", ["two-stages", "toy-tokens"])
def test_the_command_line_draws_and_replays_it(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "FAMILIES", [*STRANGERS.values()])
    monkeypatch.chdir(tmp_path)
    assert run(["generate", "a tree", "-m", name, "--seed", "5", "-o", "x.png", "--sheet", "-q"]) == 0
    assert capsys.readouterr().out.split() == ["x.png", "x-sheet.png"]
    assert run(["replay", "x.png"]) == 0
    assert capsys.readouterr().out == "identical\n"
    assert run(["generate", "a tree", "-m", name, "--image", "x.png", "-o", "y.png"]) == 2
    assert capsys.readouterr().err == f"error: --image is not an option of the model {name}\n"
