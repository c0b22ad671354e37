"""`scorefield plan`: what a drawing takes, as a table and as JSON, and refusals on the command line."""

import json

import pytest
from tests import published

from scorefield.api import forecast as forecasts
from scorefield.api import outlook as outlooks
from scorefield.cli import main


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    def run(*args: object) -> tuple[int, str, str]:
        code = main.run([str(arg) for arg in args])
        return code, *capsys.readouterr()

    return run


def test_the_json_has_each_part_and_the_sum(said) -> None:
    code, text, _ = said("plan", "a tree", "--device", "cpu", "--format", "json")
    report = json.loads(text)
    assert code == 0
    assert [part["name"] for part in report["parts"]] == ["denoiser", "text encoder", "autoencoder"]
    assert report["fits"] is (report["peak_bytes"] <= report["available_bytes"])
    assert "seconds" not in report
    weights = sum(part["bytes"] for part in report["parts"])
    work = max(part["peak_bytes"] - part["bytes"] for part in report["parts"])
    assert report["peak_bytes"] == report["base_bytes"] + weights + work


def test_a_probe_tells_the_time_of_a_step_and_of_all(said) -> None:
    _, text, _ = said("plan", "a tree", "--device", "cpu", "--steps", "6", "--probe", "--format", "json")
    report = json.loads(text)
    assert 0 < 6 * report["seconds_per_step"] < report["seconds"]


def test_the_table_says_whether_it_fits_and_with_what_it_would(said, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("plan", "a tree", "--device", "cpu", "--count", "16", "--size", "512")
    _, text, _ = said(*asked)
    assert text.splitlines()[0] == "scenes in float32 on cpu"
    assert text.splitlines()[-1].endswith("that are available: it fits")
    monkeypatch.setattr(forecasts, "resident", lambda: 300 << 20)
    monkeypatch.setattr(outlooks, "available", lambda _: 800_000_000)
    code, text, _ = said(*asked)
    *_, verdict, would = text.splitlines()
    assert code == 0
    assert verdict.endswith("GB of 0.80 GB that are available: it does not fit")
    assert would.startswith("it would fit with ")
    assert "--batch-size 8" in would


def test_generate_and_a_probe_refuse_what_does_not_fit_unless_anyway(said, tmp_path, monkeypatch) -> None:
    model = published.sparse(tmp_path / "sd1.safetensors", published.sd1())
    monkeypatch.setattr(outlooks, "available", lambda _: 10**9)
    asked = ("a tree", "--device", "cpu", "--model", model, "--size", "64")
    for command in (("generate", "--output", tmp_path), ("plan", "--probe")):
        code, _, error = said(*command, *asked)
        assert code == 1
        assert "GB of memory and there is 1.00 GB: no option changes that; --anyway tries all the same" in error
    assert said("generate", *asked, "--dry-run")[0] == 0
