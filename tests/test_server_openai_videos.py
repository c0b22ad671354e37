"""OpenAI's interface for films, and its models, without a socket."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests import toy
from tests.servers import serving, serving_films
from tests.test_server_openai import error_of

from scorefield.zoo import registry

pytest.importorskip("av", reason="mp4 needs the extra `video`")
VIDEOS = "/v1/videos"
TREE = {"prompt": "a tree", "model": "toy-film", "steps": 1, "frames": 5}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving_films(tmp_path_factory.mktemp("server"), toy.Toys()) as client:
        yield client


def finished(server: TestClient, body: dict[str, Any]) -> dict[str, Any]:
    """A film that was asked for, once it is over."""
    answer = server.post(VIDEOS, json=body)
    assert answer.status_code == 200, answer.text
    for _ in range(1000):
        film: dict[str, Any] = server.get(f"{VIDEOS}/{answer.json()['id']}").json()
        if film["status"] in ("completed", "failed"):
            return film
        time.sleep(0.02)
    raise AssertionError(film)


def test_a_film_is_asked_for_asked_after_and_fetched(server: TestClient) -> None:
    film = finished(server, TREE | {"seed": 5, "size": "32x16"})
    assert (film["status"], film["progress"], film["error"], film["object"]) == ("completed", 100, None, "video")
    assert (film["size"], film["seconds"], film["frames"], film["seed"]) == ("32x16", "0.625", 5, "5")
    assert film["created_at"] <= film["completed_at"] < film["expires_at"]
    content = server.get(f"{VIDEOS}/{film['id']}/content")
    assert content.headers["content-type"] == "video/mp4"
    assert content.content[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("variant", "frames", "form", "size"),
    [
        ("thumbnail", 5, "WEBP", (16, 16)),
        ("spritesheet", 5, "JPEG", (104, 56)),
        ("spritesheet", 33, "JPEG", (104, 104)),
    ],
)
def test_a_film_has_a_thumbnail_and_a_sheet(
    server: TestClient, variant: str, frames: int, form: str, size: tuple[int, int]
) -> None:
    film = finished(server, TREE | {"frames": frames})
    answer = server.get(f"{VIDEOS}/{film['id']}/content", params={"variant": variant})
    assert answer.headers["content-type"] == f"image/{form.lower()}"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == (form, size)


@pytest.mark.parametrize(
    ("given", "frames"),
    [({"seconds": "1"}, 9), ({"seconds": 1.2}, 9), ({"seconds": 1.4}, 13), ({"seconds": 0.01}, 5),
     ({"seconds": "20"}, 161), ({"seconds": 1, "fps": 16}, 17), ({}, 9), ({"frames": 13}, 13)],
)  # fmt: skip
def test_seconds_become_the_nearest_4k_plus_1_frames(server: TestClient, given: dict[str, Any], frames: int) -> None:
    answer = server.post(VIDEOS, json={"prompt": "a tree", "steps": 1, "seed": 1, **given})
    assert (answer.json()["frames"], answer.json()["model"]) == (frames, "toy-film")
    assert server.delete(f"{VIDEOS}/{answer.json()['id']}").json()["deleted"]


def test_a_film_that_waits_says_when_to_ask_again_and_has_no_file(server: TestClient) -> None:
    long = server.post(VIDEOS, json=TREE | {"steps": 150, "frames": 161}).json()["id"]
    answer = server.get(f"{VIDEOS}/{long}")
    assert answer.json()["status"] in ("queued", "in_progress")
    assert 200 <= int(answer.headers["openai-poll-after-ms"]) <= 5000
    content = server.get(f"{VIDEOS}/{long}/content")
    assert (content.status_code, "not finished yet" in error_of(content)["message"]) == (404, True)
    assert server.post(f"/jobs/{long}/cancel").status_code == 200
    over = server.get(f"{VIDEOS}/{long}")
    assert (over.json()["status"], over.json()["error"]["code"]) == ("failed", "cancelled")
    assert "openai-poll-after-ms" not in over.headers
    assert "cancelled" in error_of(server.get(f"{VIDEOS}/{long}/content"))["message"]


def test_films_are_listed_in_pages_from_either_end(server: TestClient) -> None:
    made = [finished(server, TREE)["id"] for _ in range(3)]
    server.post("/jobs", json={"prompts": "a tree", "model": "toy-film", "steps": 1})  # of another interface
    newest = server.get(VIDEOS, params={"limit": 2}).json()
    assert [film["id"] for film in newest["data"]] == [made[2], made[1]]
    assert (newest["has_more"], newest["first_id"], newest["last_id"]) == (True, made[2], made[1])
    assert server.get(VIDEOS, params={"limit": 1, "after": made[1]}).json()["last_id"] == made[0]
    after = server.get(VIDEOS, params={"order": "asc", "after": made[0]}).json()
    assert ([film["id"] for film in after["data"]], after["has_more"]) == ([made[1], made[2]], False)


def test_a_film_that_was_deleted_is_gone(server: TestClient) -> None:
    film = finished(server, TREE)["id"]
    folder = server.app.state.desk.jobs.folder.job(film)
    assert folder.exists()
    assert server.delete(f"{VIDEOS}/{film}").json() == {"id": film, "deleted": True, "object": "video.deleted"}
    assert not folder.exists()
    assert server.get(f"{VIDEOS}/{film}").status_code == 404
    assert server.delete(f"{VIDEOS}/{film}").status_code == 404


def test_jobs_of_other_interfaces_are_no_films(server: TestClient) -> None:
    job = server.post("/jobs", json={"prompts": "a tree", "model": "toy-film", "steps": 1}).json()["id"]
    assert server.get(f"{VIDEOS}/{job}").status_code == 404
    assert server.delete(f"{VIDEOS}/{job}").status_code == 404
    assert server.get(f"/jobs/{job}").status_code == 200


def test_a_film_can_be_had_at_once(server: TestClient) -> None:
    answer = server.post(f"{VIDEOS}/sync", data={name: str(value) for name, value in TREE.items()})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    film = answer.headers["x-request-id"]
    assert server.get(f"{VIDEOS}/{film}/content").content == answer.content


@pytest.mark.parametrize(
    ("given", "param", "line"),
    [
        ({"model": "scenes"}, "model", "scenes draws pictures; name a model that draws films"),
        ({"seconds": "100", "frames": None}, "seconds", "at most 161 frames, 20.1 seconds"),
        ({"seconds": "4"}, "seconds", "seconds and frames exclude each other"),
        ({"seconds": "soon", "frames": None}, "seconds", "seconds must be a valid number"),
        ({"frames": 6}, "frames", "use 5 or 9"),
        ({"size": "100x100"}, "size", "use 96x96 or 104x104"),
        ({"input_reference": {"file_id": "x"}}, "input_reference", "this server keeps no files"),
        ({"input_reference": "/etc/passwd"}, "input_reference", "not base64"),
        ({"n": 2}, "n", "there is no field 'n'"),
    ],
)
def test_what_is_wrong_with_a_film_is_said(
    server: TestClient, given: dict[str, Any], param: str | None, line: str
) -> None:
    answer = server.post(VIDEOS, json=TREE | given)
    error = error_of(answer)
    assert (answer.status_code, error["param"]) == (400, param)
    assert line in error["message"]


def test_a_first_frame_goes_to_models_that_take_one(server: TestClient) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (16, 16)).save(picture, "PNG")
    answer = server.post(VIDEOS, data={"prompt": "a tree"}, files={"input_reference": picture.getvalue()})
    assert error_of(answer)["message"] == "image is not an option of the model toy-film"
    nested = server.post(VIDEOS, data={"prompt": "a tree", "input_reference[image_url]": "file:///etc/passwd"})
    assert "this server fetches no addresses" in error_of(nested)["message"]


@pytest.mark.parametrize(
    ("path", "methods"), [(VIDEOS, "GET, POST"), (f"{VIDEOS}/sync", "POST"), (f"{VIDEOS}/job_1", "DELETE, GET")]
)
def test_a_method_that_there_is_not_is_answered_with_those_there_are(
    server: TestClient, path: str, methods: str
) -> None:
    answer = server.put(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, methods)


def test_without_a_film_model_one_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FAMILIES", [toy.Toys()])
    with serving(tmp_path) as server:
        error = error_of(server.post(VIDEOS, json={"prompt": "a tree"}))
    assert (error["param"], error["message"]) == (
        "model",
        "name a model that draws films; none ships with this server",
    )


def test_models_are_listed_and_found_by_name(server: TestClient) -> None:
    listed = server.get("/v1/models").json()
    assert listed["object"] == "list"
    assert {"id": "scenes", "object": "model", "created": 0, "owned_by": "scorefield"} in listed["data"]
    assert server.get("/v1/models/toy-film").json() in listed["data"]
    missing = server.get("/v1/models/gpt-image-2")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "model_not_found")
