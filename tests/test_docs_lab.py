"""The pages of docs/lab say what the program says: they are built from results, claims, prose and code as they are."""

import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest
from PIL import Image

from scorefield.lab import EXPERIMENTS
from scorefield.lab.experiment import Criterion

DOCS = Path(__file__).parents[1] / "docs"
SPEC = importlib.util.spec_from_file_location("make_lab", DOCS / "make_lab.py")
make_lab = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_lab)
PAGES = make_lab.pages(make_lab.kept())
NAMES = sorted(EXPERIMENTS)


def test_every_experiment_has_its_page_and_there_are_no_others():
    there = {str(path.relative_to(make_lab.LAB)) for path in make_lab.LAB.rglob("*") if path.is_file()}
    assert there == {*PAGES, make_lab.TUNING, *(f"images/{name}.png" for name in NAMES)}
    assert {f"{name}.md" for name in NAMES} <= set(PAGES)


def test_the_page_of_families_leads_to_how_they_were_tuned():
    assert f"]({make_lab.TUNING})" in PAGES["families.md"]


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_what_its_result_and_the_code_of_today_make(name):
    assert (make_lab.LAB / name).read_text(encoding="utf-8") == PAGES[name], "run `make lab`"


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_result_has_the_present_claim(name):
    kept, experiment = make_lab.kept()[name], EXPERIMENTS[name]
    assert kept.claim == experiment.claim
    assert [Criterion(one.number, one.relation, one.bound) for one in kept.criterion] == list(experiment.criteria)
    assert kept.settings == json.loads(json.dumps({f: getattr(experiment.parse({}), f) for f in kept.settings}))


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_result_fits_the_published_schema(name):
    schema = json.loads((make_lab.LAB / "result.schema.json").read_text())
    jsonschema.validate(json.loads((make_lab.LAB / "results" / f"{name}.json").read_text()), schema)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_legible_and_light(name):
    path = make_lab.LAB / "images" / f"{name}.png"
    with Image.open(path) as figure:
        assert figure.width >= 1000
    assert path.stat().st_size < 700_000
