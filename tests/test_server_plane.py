import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.servers import serving

SIDE = 12


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("planes") / "jobs") as client:
        yield client


@pytest.fixture(scope="module")
def spiral(client: TestClient) -> dict[str, Any]:
    return learned(client, shape="spiral", steps=400)


def learned(client: TestClient, **asked: object) -> dict[str, Any]:
    plane = client.post("/planes", json=asked).json()
    until = time.monotonic() + 60
    while plane["step"] < plane["steps"] and time.monotonic() < until:
        time.sleep(0.05)
        plane = client.get(f"/planes/{plane['id']}").json()
    assert plane["step"] == plane["steps"]
    return dict(plane)


def array(answer: Any) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    shape = tuple(map(int, answer.headers["x-shape"].split(",")))
    return np.frombuffer(answer.content, "<f4").reshape(shape)


def test_a_plane_learns_the_exact_field_of_the_spiral(client: TestClient, spiral: dict[str, Any]) -> None:
    assert spiral["classes"] == ["person", "dog", "cat"]
    assert spiral["loss"] > 0
    asked = {"times": [0.3, 0.6, 0.9], "side": SIDE, "limit": 2, "fields": ["none", "exact"]}
    answer = client.post(f"/planes/{spiral['id']}/fields", json=asked)
    found = array(answer)
    assert found.shape == (3, 2, SIDE * SIDE, 2)
    assert len(answer.headers["x-levels"].split()) == 3
    error = np.sqrt(((found[:, 0] - found[:, 1]) ** 2).mean((1, 2)))
    size = np.sqrt((found[:, 1] ** 2).mean((1, 2)))
    assert error[2] < 0.15 * max(size[2], 0.5)
    assert error[1] < 0.35


def test_guidance_moves_the_field_by_the_difference_of_the_two(client: TestClient, spiral: dict[str, Any]) -> None:
    asked = {"times": [0.5], "side": SIDE, "fields": ["none", "class", "guided"], "label": 2, "alpha": 3}
    none, of_class, guided = array(client.post(f"/planes/{spiral['id']}/fields", json=asked))[0]
    assert np.allclose(guided, none + 3 * (of_class - none), atol=1e-4)
    assert np.abs(of_class - none).max() > 0.1


def test_points_walk_to_the_spiral_and_collapse_without_noise(client: TestClient, spiral: dict[str, Any]) -> None:
    asked = {"sampler": "ddpm", "steps": 64, "count": 300, "exact": True}
    url = f"/planes/{spiral['id']}/walk"
    noisy, bare = (array(client.post(url, json={**asked, "noise": noise})) for noise in (True, False))
    assert noisy.shape == (65, 300, 2)
    assert (noisy[0] == bare[0]).all()
    nodes = np.array(spiral["nodes"])[:, :2]
    assert np.median(distances(noisy[-1], nodes)) < 0.1
    assert bare[-1].std() < 0.7 * noisy[-1].std()
    again = array(client.post(url, json=asked))
    assert (again == noisy).all(), "a walk is a function of its seed"


def distances(points: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(points[:, None] - nodes[None], axis=2).min(1))


def test_a_walk_of_a_class_ends_in_it(client: TestClient, spiral: dict[str, Any]) -> None:
    asked = {"sampler": "euler", "steps": 40, "count": 200, "exact": True, "label": 2}
    ends = array(client.post(f"/planes/{spiral['id']}/walk", json=asked))[-1]
    nodes = np.array(spiral["nodes"])
    assert np.median(distances(ends, nodes[nodes[:, 2] == 2][:, :2])) < 0.1
    assert np.median(distances(ends, nodes[nodes[:, 2] == 0][:, :2])) > 0.3


def test_drawn_points_are_learned_and_walks_start_where_one_drops_points(client: TestClient) -> None:
    drawn = learned(client, points=[[0, 0], [100, 0], [0, 50]], steps=1)
    assert len(drawn["nodes"]) == 3
    asked = {"sampler": "ddim", "steps": 20, "start": [[2, 0], [-1, 1]], "exact": True}
    states = array(client.post(f"/planes/{drawn['id']}/walk", json=asked))
    assert states.shape == (21, 2, 2)
    assert (states[0] == [[2, 0], [-1, 1]]).all()
    assert distances(states[-1], np.array(drawn["nodes"])[:, :2]).max() < 0.05


def test_every_sampler_that_is_offered_walks(client: TestClient, spiral: dict[str, Any]) -> None:
    assert len(spiral["samplers"]) > 10
    for sampler in spiral["samplers"]:
        states = array(client.post(f"/planes/{spiral['id']}/walk", json={"sampler": sampler, "steps": 6, "count": 3}))
        assert np.isfinite(states).all(), sampler
        assert states.shape == (7, 3, 2), sampler


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/planes", {"points": [[0, 0], [0, 0]]}, 400),
        ("/planes", {"points": [[0, 0]]}, 422),
        ("/planes", {"points": [[0, 1e9], [0, 0]]}, 422),
        ("/planes", {"shape": "../../etc/passwd"}, 422),
        ("/planes", {"shape": "x.csv"}, 422),
        ("/planes", {"steps": 10**9}, 422),
        ("/planes/nope/walk", {}, 404),
        ("walk", {"sampler": "nope"}, 400),
        ("walk", {"label": 9}, 400),
        ("walk", {"count": 10**6}, 422),
        ("fields", {"times": []}, 422),
        ("fields", {"times": [0]}, 422),
        ("fields", {"times": [0.5] * 129, "side": 64, "fields": ["none", "class", "guided", "exact"]}, 400),
    ],
)
def test_odd_wishes_are_refused_in_one_line(
    client: TestClient, spiral: dict[str, Any], path: str, body: object, status: int
) -> None:
    url = path if path.startswith("/") else f"/planes/{spiral['id']}/{path}"
    answer = client.post(url, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_planes_are_forgotten_when_there_are_many(client: TestClient, spiral: dict[str, Any]) -> None:
    first = client.post("/planes", json={"steps": 1}).json()["id"]
    for _ in range(16):
        client.post("/planes", json={"steps": 1})
    assert client.get(f"/planes/{first}").status_code == 404
    assert spiral["id"]
