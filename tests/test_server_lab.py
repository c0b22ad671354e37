import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.servers import serving

from scorefield.data.shapes import SHAPES
from scorefield.lab import EXPERIMENTS


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("lab") / "jobs") as client:
        yield client


def over(client: TestClient, run: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + 60
    while run["state"] in ("waiting", "running") and time.monotonic() < until:
        time.sleep(0.05)
        run = client.get(f"/lab/runs/{run['id']}").json()
    return run


def test_every_experiment_is_listed_with_its_claim_and_its_settings(client: TestClient) -> None:
    listed = client.get("/lab").json()
    assert [one["name"] for one in listed] == list(EXPERIMENTS)
    walk = next(one for one in listed if one["name"] == "walk")
    assert walk["claim"] == EXPERIMENTS["walk"].claim
    assert walk["settings"]["shape"] == "spiral"
    assert walk["schemas"]["seed"]["type"] == "integer"
    assert walk["schemas"]["shape"]["enum"] == list(SHAPES)
    assert all(one["about"] for one in listed)


def test_a_run_with_own_settings_has_its_result_and_its_figure(client: TestClient) -> None:
    asked = {"settings": {"steps": 20, "shape": "moons", "seed": 3}}
    run = over(client, client.post("/lab/walk", json=asked).json())
    assert run["state"] == "done", run
    assert run["result"]["settings"] | asked["settings"] == run["result"]["settings"]
    assert {one["held"] for one in run["result"]["criterion"]} <= {True, False}
    figure = next(url for url in run["files"] if url.endswith("figure.png"))
    assert Image.open(io.BytesIO(client.get(figure).content)).width > 300


def test_a_run_tells_its_progress_and_is_cancelled(client: TestClient) -> None:
    run = client.post("/lab/field", json={"settings": {"steps": 20_000}}).json()
    until = time.monotonic() + 60
    seen: list[float] = []
    while len(seen) < 3 and time.monotonic() < until:
        found = client.get(f"/lab/runs/{run['id']}").json()
        if found["progress"] and found["progress"] not in seen:
            seen.append(found["progress"])
    assert seen == sorted(seen)
    assert found["what"] == "training"
    client.post(f"/lab/runs/{run['id']}/cancel")
    assert over(client, run)["state"] == "cancelled"


@pytest.mark.parametrize(
    ("name", "settings", "status"),
    [
        ("nope", {}, 404),
        ("walk", {"stepz": 3}, 400),
        ("walk", {"steps": -1}, 400),
        ("walk", {"shape": "/etc/points.csv"}, 400),
        ("walk", {"steps": [1]}, 422),
    ],
)
def test_odd_settings_are_refused_in_one_line(
    client: TestClient, name: str, settings: dict[str, object], status: int
) -> None:
    answer = client.post(f"/lab/{name}", json={"settings": settings})
    assert answer.status_code == status, answer.text
    assert "\n" not in answer.json()["error"]["message"]


def test_files_of_a_run_have_three_names(client: TestClient) -> None:
    run = over(client, client.post("/lab/walk", json={"settings": {"steps": 5}}).json())
    assert client.get(f"/lab/runs/{run['id']}/files/result.json").status_code == 422
    assert client.get(f"/lab/runs/{run['id']}/files/..%2f..%2fjobs.sqlite").status_code in (404, 422)
    assert client.get("/lab/runs/nope/files/figure.png").status_code == 404
