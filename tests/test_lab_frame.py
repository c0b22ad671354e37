"""What every experiment of the lab has in common: claim, settings, outcome, record, page and command."""

import json
import math
from dataclasses import dataclass, replace
from typing import Annotated

import jsonschema
import pytest
from PIL import Image
from pydantic import Field

import scorefield as sf
from scorefield.cli import main
from scorefield.files import video
from scorefield.lab import page, record, style
from scorefield.lab.experiment import Animation, Criterion, Experiment, LabError, Settings
from scorefield.lab.names import EXPERIMENTS, find


@dataclass(frozen=True, slots=True, kw_only=True)
class CoinSettings(Settings):
    tosses: Annotated[int, Field(ge=1, le=1000)] = 10
    bias: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Tossed:
    numbers: dict[str, float]


def toss(settings, watch):
    seen = list(watch(range(settings.tosses), "tossing", settings.tosses))
    return Tossed(numbers={"heads": settings.bias * len(seen), "sides": 2.0})


def drawn(result):
    figure, (axes,) = style.figure(width=2, height=1)
    axes.bar(["heads"], [result.numbers["heads"]])
    return figure


def moving(result):
    return Animation((Image.new("RGB", (32, 17), (k, 0, 0)) for k in range(0, 60, 20)), per_second=10)


COIN = Experiment(
    name="coin",
    claim="A coin falls on its head.",
    criteria=(Criterion("heads", ">=", 4.0), Criterion("sides", "<=", 2.0)),
    settings=CoinSettings,
    run=toss,
    draw=drawn,
    animate=moving,
    reason="A coin has another side.",
)


@pytest.fixture(params=["mp4", "gif"])
def kind(request, monkeypatch):
    """The animation that is written, with PyAV and as if it were not there."""
    monkeypatch.setattr(video, "can_encode", lambda: request.param == "mp4")
    return request.param


@pytest.mark.parametrize(
    ("relation", "value", "holds"), [("<=", 2.0, True), ("<=", 2.1, False), (">=", 2.0, True), (">=", 1.9, False)]
)
def test_a_criterion_holds_up_to_its_bound(relation, value, holds):
    assert Criterion("n", relation, 2.0).holds({"n": value}) is holds


def test_a_claim_holds_only_if_all_its_criteria_do():
    assert COIN().held
    assert not COIN(tosses=7).held
    assert not replace(COIN, criteria=(*COIN.criteria, Criterion("sides", "<=", 1.0)))().held


def test_settings_are_read_from_text_and_kept_in_the_outcome():
    outcome = COIN(tosses="8", seed="3")
    assert outcome.settings == CoinSettings(tosses=8, seed=3)
    assert outcome.numbers == {"heads": 4.0, "sides": 2.0}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"toses": 3}, "coin has no setting 'toses'; did you mean tosses?"),
        ({"zzz": 3}, "coin has no setting 'zzz'; it has seed, tosses, bias"),
        ({"tosses": "many"}, "coin: tosses='many': input should be a valid integer"),
        ({"tosses": 0}, "coin: tosses=0: input should be greater than or equal to 1"),
        ({"seed": -1}, "coin: seed=-1: input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_is_right(given, told):
    with pytest.raises(LabError) as caught:
        COIN(**given)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bias", [math.nan, math.inf])
def test_a_number_that_is_not_finite_ends_the_run(bias):
    with pytest.raises(ArithmeticError, match="coin: heads is"):
        COIN(bias=bias)


def test_what_a_run_leaves_is_whole_and_fits_the_published_schema(tmp_path, kind):
    written = record.save(COIN(tosses=9), tmp_path / "coin")
    assert sorted(path.name for path in (tmp_path / "coin").iterdir()) == [
        f"animation.{kind}",
        "figure.png",
        "result.json",
    ]
    assert sorted(written) == sorted((tmp_path / "coin").iterdir())
    with Image.open(tmp_path / "coin" / "figure.png") as figure:
        assert figure.size == (320, 160)
    told = json.loads((tmp_path / "coin" / "result.json").read_text())
    jsonschema.validate(told, record.schema(), jsonschema.Draft202012Validator)
    assert told["criterion"][0] == {"number": "heads", "relation": ">=", "bound": 4.0, "value": 4.5, "held": True}
    assert (told["held"], told["reason"], told["seed"]) == (True, None, 0)
    assert told["settings"] == {"seed": 0, "tosses": 9, "bias": 0.5}


def test_the_schema_refuses_what_is_no_result():
    told = json.loads(record.record(COIN()).model_dump_json())
    for broken in (told | {"held": "perhaps"}, told | {"more": 1}, {k: v for k, v in told.items() if k != "claim"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, record.schema(), jsonschema.Draft202012Validator)


def test_a_claim_that_does_not_hold_is_recorded_with_its_reason(tmp_path):
    record.save(COIN(tosses=2), tmp_path)
    kept = record.load(tmp_path)
    assert not kept.held
    assert kept.reason == "A coin has another side."


def test_a_record_is_still_right_until_the_settings_or_the_claim_change(tmp_path):
    record.save(COIN(), tmp_path)
    kept = record.load(tmp_path)
    assert record.still_right(kept, COIN, CoinSettings())
    assert not record.still_right(kept, COIN, CoinSettings(tosses=11))
    assert not record.still_right(kept, replace(COIN, claim="It does not."), CoinSettings())
    assert not record.still_right(kept, replace(COIN, criteria=COIN.criteria[:1]), CoinSettings())


@pytest.mark.parametrize("text", [None, "", "{", '{"name": "coin"}'])
def test_a_folder_without_a_whole_record_has_none(tmp_path, text):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    assert record.load(tmp_path) is None


def test_an_animation_of_the_lab_can_be_read_again(tmp_path, kind):
    record.save(COIN(), tmp_path)
    if kind == "gif":
        with Image.open(tmp_path / "animation.gif") as shown:
            assert (shown.size, shown.n_frames) == ((32, 17), 3)
        return
    import av

    with av.open(str(tmp_path / "animation.mp4")) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    assert (frames[0].size, len(frames)) == ((32, 16), 3 + 15)
    assert frames[0].getpixel((9, 9))[0] < 15 < 30 < frames[-1].getpixel((9, 9))[0]


def test_a_figure_becomes_a_picture_of_the_size_asked_for():
    figure, _ = style.figure(width=5, height=2)
    assert style.image(figure, 80).size == (400, 160)


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_experiment_states_its_claim_before_the_run(name):
    experiment = EXPERIMENTS[name]
    assert experiment.claim.endswith(".")
    assert experiment.criteria
    assert experiment.parse({}).seed == 0
    assert getattr(sf.lab, name.replace("-", "_")) is experiment
    title, *rest = page.blocks(page.prose(experiment))
    assert title[1].endswith(".")
    assert rest
    assert "def " in page.code(experiment)


def test_names_are_found_with_hyphens_or_underscores_and_near_ones_are_suggested():
    assert find("Walk") is EXPERIMENTS["walk"]
    with pytest.raises(LabError, match="no experiment 'wlak'; nearest: walk"):
        find("wlak")


def run(capsys, *args):
    code = main.run(["lab", *args])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_lists_every_experiment_with_its_claim(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    for name, experiment in EXPERIMENTS.items():
        assert f"\n{name} " in f"\n{out}"
        assert experiment.claim in out


def test_the_command_runs_one_and_says_what_it_found(capsys, tmp_path):
    code, out, _ = run(capsys, "walk", "--set", "points=500", "--set", "steps=10", "--output", str(tmp_path / "w"))
    assert code == 0
    assert "The claim held." in out
    assert str(tmp_path / "w" / "result.json") in out
    assert record.load(tmp_path / "w").settings["points"] == 500


def test_the_command_prints_the_record_as_json(capsys, tmp_path):
    _, out, _ = run(
        capsys, "walk", "--set", "points=500", "--set", "steps=10", "--output", str(tmp_path), "--format", "json"
    )
    told = json.loads(out)
    assert told.pop("files")[0] == str(tmp_path / "result.json")
    jsonschema.validate(told, record.schema())


def test_describe_tells_claim_criteria_and_settings_without_a_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "walk", "--describe")
    assert code == 0
    assert "correlation_of_start_and_end <= 0.05" in out
    assert "steps=100" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("wlak",), "there is no experiment 'wlak'; nearest: walk"),
        (("walk", "--set", "stpes=3"), "walk has no setting 'stpes'; did you mean steps?"),
        (("walk", "--set", "steps"), "'steps' is not NAME=VALUE"),
        (("walk", "--set", "shape=square"), "there is no shape 'square'"),
        (("walk", "--resume"), "--resume needs --all"),
        (("walk", "--all"), "--all runs every experiment with its defaults"),
        (("--set", "steps=3"), "give the name of an experiment"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, tmp_path, monkeypatch, args, told):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *args)
    assert code in (1, 2)
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert told in err
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named_before_the_run(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    code, _, err = run(capsys, "walk", "--output", str(tmp_path / "w"))
    assert code == 1
    assert "pip install 'scorefield[lab]'" in err
    assert not (tmp_path / "w").exists()


def test_all_runs_each_once_and_builds_one_page_with_everything_in_it(capsys, tmp_path, monkeypatch):
    from scorefield import lab

    ran = []
    coins = {
        name: replace(COIN, name=name, run=lambda s, w, name=name: ran.append(name) or toss(s, w))
        for name in ("a", "b")
    }
    for module in (lab, page):
        monkeypatch.setattr(module, "EXPERIMENTS", coins)
    monkeypatch.setattr(page, "code", lambda experiment: "def toss(): <heads>")
    monkeypatch.setattr(page, "prose", lambda experiment: "A coin.\n\nIt is < tossed.\n\n    heads + tails = 1")
    code, _, _ = run(capsys, "--all", "--output", str(tmp_path))
    assert (code, ran) == (0, ["a", "b"])
    html = (tmp_path / "index.html").read_text()
    assert html.count("data:image/png;base64,") == 2
    assert html.count("data:video/mp4;base64,") == 2
    assert "It is &lt; tossed." in html
    assert "<pre>heads + tails = 1</pre>" in html
    assert "def toss(): &lt;heads&gt;" in html
    assert 'src="http' not in html
    assert 'href="http' not in html
    (tmp_path / "a" / "result.json").unlink()
    run(capsys, "--all", "--resume", "--output", str(tmp_path))
    assert ran == ["a", "b", "a"]
