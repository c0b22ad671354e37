import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from tests.toy import model

from scorefield.api import Pipeline, load
from scorefield.cli.main import group, run
from scorefield.data.scenes import scene
from scorefield.evals import adherence
from scorefield.lab import drawers
from scorefield.request import Options

TASKS = ["single", "two", "counting", "colours", "position", "binding"]


def call(*words: str) -> Result:
    result = CliRunner().invoke(group, ["eval", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_json_has_every_task_with_its_interval() -> None:
    told = json.loads(call("adherence", "--model", "renders", "--count", "2", "--format", "json").stdout)
    assert list(told) == [*TASKS, "overall"]
    for task, share in told.items():
        assert list(share) == ["rate", "n", "low", "high"]
        assert share["n"] == (12 if task == "overall" else 2)
        assert 0 <= share["low"] <= share["rate"] <= share["high"] <= 1


def test_the_table_names_the_chosen_tasks() -> None:
    lines = call("adherence", "--model", "renders", "--count", "2", "--tasks", "two,counting").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["task", "two", "counting", "overall"]
    assert lines[-1].split()[-1] == "4"


def test_the_details_hold_every_picture(tmp_path: Path) -> None:
    path = tmp_path / "new" / "details.jsonl"
    call("adherence", "--model", "renders", "--count", "3", "--tasks", "binding", "--seed", "7", "--details", str(path))
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [one["seed"] for one in told] == [7, 8, 9]
    for one in told:
        assert one["task"] == "binding"
        assert one["right"] == (one["faults"] == [])
        assert " and " in one["prompt"]
        assert {"thing", "x", "y", "score", "colour", "worn"} == set(one["found"][0])
    assert [file.name for file in path.parent.iterdir()] == ["details.jsonl"]


def test_the_drawing_score_of_renders_is_its_own_bound() -> None:
    words = ("--model", "renders", "--count", "2", "--tasks", "two", "--format", "json")
    told = json.loads(call("drawing", *words).stdout)
    assert list(told) == ["two", "overall"]
    assert all(one["db"] == one["bound_db"] > 35 for one in told.values())


def test_the_judge_is_judged_by_true_and_by_damaged_pictures() -> None:
    told = json.loads(call("judge", "--count", "2", "--format", "json").stdout)
    assert list(told) == ["true", "shuffled", "blurred", "hybrids", "halves"]
    assert all(share["n"] == 12 for share in told.values())
    assert told["true"]["rate"] > 0.7


def test_true_films_are_judged_with_their_likeness(tmp_path: Path) -> None:
    path = tmp_path / "details.jsonl"
    words = ("--model", "renders", "--count", "3", "--details", str(path), "--format", "json")
    told = json.loads(call("film", *words).stdout)
    assert list(told) == ["thing", "motion", "place", "all", "same"]
    assert all(share["rate"] == 1 for share in told.values())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["seed"] for line in lines] == [0, 1, 2]
    assert all(line["right"] and line["likeness_db"] > 22 for line in lines)


def test_what_the_autoencoder_keeps_bounds_the_drawing_score() -> None:
    scenes = [scene(index, task="single") for index in range(2)]
    kept = drawers.decoded(load())(scenes, 0)
    apart = (kept.int() - adherence.renders(scenes).int()).float().square().mean().sqrt()
    assert kept.shape == (2, 3, 128, 128)
    assert 0.5 < apart < 12


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    words = ("--model", "renders", "--count", "1", "--scales", "3,1", "--output", str(path), "--format", "json")
    told = json.loads(call("guidance", *words).stdout)
    assert list(told["scales"]) == ["1", "3"]
    assert told["figure"] == str(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("words", [("adherence", "--details"), ("guidance", "--scales", "1", "--output")])
def test_a_file_is_replaced_only_when_asked(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept.png"
    path.write_text("mine")
    asked = ["eval", *words, str(path), "--model", "renders", "--count", "1", "--tasks", "single"]
    assert run(asked) == 2
    assert capsys.readouterr().err == f"error: {path} exists; choose another name, or replace it with --overwrite\n"
    assert path.read_text() == "mine"
    assert run([*asked, "--overwrite"]) == 0
    assert path.read_bytes() != b"mine"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["adherence", "--tasks", "two,cats"], "there is no task 'cats'"),
        (["adherence", "--count", "0"], "1<=x<=9999"),
        (["adherence", "--model", "scene"], "scenes"),
        (["guidance", "--scales", "1,x", "--output", "a.png"], "list of numbers"),
        (["guidance", "--scales", "0", "--output", "a.png"], "must be above 0"),
        (["guidance", "--model", "renders", "--output", "a.txt"], "a figure's name must end in .png"),
        (["adherence", "--details", "/dev/null/details"], "/dev/null"),
    ],
)
def test_bad_input_is_one_line_on_stderr(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["eval", *words]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:the model toy never saw")
def test_a_pipeline_draws_the_captions_with_the_kth_seed() -> None:
    pipe = Pipeline(model())
    scenes = [scene(index, task="counting") for index in range(3)]
    draw = drawers.pictures(pipe, Options(steps=2, cfg_scale=1.5))
    drawn, alone = draw(scenes, 11), draw(scenes[2:], 13)
    assert drawn.shape == (3, 3, 128, 128)
    assert drawn.dtype == torch.uint8
    assert (drawn[2:].int() - alone.int()).abs().max() <= 1
    assert (drawn[0].int() - drawn[1].int()).abs().max() > 1


def test_an_interrupt_ends_in_one_line_and_leaves_no_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(scenes: object, seed: int) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(adherence, "renders", interrupted)
    assert run(["eval", "adherence", "--model", "renders", "--details", str(tmp_path / "details.jsonl")]) == 130
    assert capsys.readouterr() == ("", "error: interrupted\n")
    assert not list(tmp_path.iterdir())
