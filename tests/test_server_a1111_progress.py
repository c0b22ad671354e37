"""AUTOMATIC1111's progress and interruption, its options, its lists, and who may ask."""

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.servers import serving

from scorefield.queue.jobs import Limits
from scorefield.sample import samplers
from scorefield.server.settings import Settings

LONG = {"prompt": "a cat", "steps": 20, "n_iter": 12, "seed": 1}
IDLE = {"progress": 0.0, "job_count": 0}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(limits=Limits(together=1), rate="100000/minute")
    with serving(tmp_path_factory.mktemp("server") / "jobs", settings) as client:
        yield client


def get(client: TestClient, path: str) -> Any:
    answer = client.get(f"/sdapi/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(client: TestClient, path: str, **fields: object) -> Any:
    answer = client.post(f"/sdapi/v1/{path}", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def of_task(client: TestClient, task: str, **fields: object) -> dict[str, Any]:
    answer = client.post("/internal/progress", json={"id_task": task, **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def until(ready: Callable[[], Any]) -> Any:
    """What `ready` returns once it is true."""
    end = time.monotonic() + 60
    while not (found := ready()):
        assert time.monotonic() < end, "it did not happen within a minute"
        time.sleep(0.02)
    return found


def idle(client: TestClient) -> bool:
    found = get(client, "progress")
    return {"progress": found["progress"], "job_count": found["state"]["job_count"]} == IDLE


@pytest.fixture
def drawing(client: TestClient) -> Iterator[Callable[..., Future[Any]]]:
    """Draw in another thread; in the end nothing is drawn any more."""
    with ThreadPoolExecutor(4) as pool:
        yield lambda **fields: pool.submit(lambda: post(client, "txt2img", **{**LONG, **fields}))
        while not idle(client):
            post(client, "interrupt")


def test_progress_is_that_of_the_job_with_the_picture_as_it_forms(
    client: TestClient, drawing: Callable[..., Future[Any]]
) -> None:
    assert idle(client)
    drawing(force_task_id="task(one)", n_iter=2)
    seen: list[tuple[float, int, int]] = []
    image = None
    while not idle(client) or not seen:
        found = get(client, "progress")
        state = found["state"]
        if state["sampling_step"]:
            assert (state["job"], state["job_count"], state["sampling_steps"]) == ("task(one)", 2, LONG["steps"])
            seen.append((found["progress"], state["job_no"], state["sampling_step"]))
            image = found["current_image"] or image
        time.sleep(0.02)
    assert [progress for progress, _, _ in seen] == sorted(progress for progress, _, _ in seen)
    assert all(number / 2 <= progress <= 1 and step <= LONG["steps"] for progress, number, step in seen)
    assert {number for _, number, _ in seen} >= {0, 1}
    assert image is not None
    assert Image.open(io.BytesIO(base64.b64decode(image))).size == (128, 128)
    assert get(client, "progress?skip_current_image=true")["current_image"] is None


def test_an_interrupted_client_is_sent_what_is_finished(
    client: TestClient, drawing: Callable[..., Future[Any]]
) -> None:
    answer = drawing()
    until(lambda: get(client, "progress?skip_current_image=true")["state"]["job_no"] >= 1)
    assert post(client, "interrupt") == {}
    made = answer.result(60)
    info = json.loads(made["info"])
    assert 1 <= len(made["images"]) < LONG["n_iter"]
    assert len(info["infotexts"]) == len(made["images"])
    assert len(info["all_seeds"]) == LONG["n_iter"]
    until(lambda: idle(client))


def test_jobs_are_known_and_ended_by_their_own_names(client: TestClient, drawing: Callable[..., Future[Any]]) -> None:
    first = drawing(force_task_id="first")
    until(lambda: of_task(client, "first")["active"])
    second = drawing(force_task_id="second")
    until(lambda: of_task(client, "second")["queued"])
    assert client.get("/internal/pending-tasks").json() == {"size": 1, "tasks": ["second"]}
    assert get(client, "progress?id_task=second")["textinfo"] == "Queued..."
    found = until(lambda: (told := of_task(client, "first"))["live_preview"] and told)
    assert found["live_preview"].startswith("data:image/")
    assert 0 < found["progress"] < 1
    assert of_task(client, "first", live_preview=False)["live_preview"] is None
    post(client, "interrupt?id_task=second")
    assert second.result(60)["images"] == []
    assert of_task(client, "first")["active"], "another job was ended"
    assert client.post("/sdapi/v1/skip").json() is None
    assert len(first.result(60)["images"]) < LONG["n_iter"]
    assert [of_task(client, name)["completed"] for name in ("first", "second", "third")] == [True, True, False]


def test_jobs_of_other_interfaces_are_not_ended(client: TestClient) -> None:
    job = client.post("/jobs", json={"prompts": "a cat", "steps": 4}).json()["id"]
    assert idle(client)
    post(client, "interrupt")
    post(client, f"interrupt?id_task={job}")
    assert until(lambda: (told := client.get(f"/jobs/{job}").json())["finished"] and told)["state"] == "done"


def test_options_are_changed_kept_and_checked(client: TestClient) -> None:
    assert get(client, "options")["sd_model_checkpoint"] == "scenes"
    assert post(client, "options", sd_model_checkpoint="scenes.safetensors [575b3e54fb]", show_progress=[1]) is None
    found = get(client, "options")
    assert (found["sd_model_checkpoint"], found["show_progress"]) == ("scenes", [1])
    for wrong, status in (
        ({"sd_model_checkpoint": "nowhere"}, 404),
        ({"sd_model_checkpoint": 5}, 400),
        ({"sd_vae": "x"}, 400),
        ({"jpeg_quality": 101}, 400),
        ({"CLIP_stop_at_last_layers": True}, 400),
        ({"long": "x" * 3000}, 400),
        ({f"option {k}": k for k in range(400)}, 400),
    ):
        assert client.post("/sdapi/v1/options", json=wrong).status_code == status, wrong
    assert get(client, "options") == found
    assert client.post("/sdapi/v1/options", json=[1]).status_code == 422
    assert client.post("/sdapi/v1/options", content="{}", headers={"content-type": "text/plain"}).status_code == 422


def test_every_listed_name_is_one_that_draws(client: TestClient) -> None:
    listed, schedules = get(client, "samplers"), get(client, "schedulers")
    assert {samplers.find_a1111(one["name"], None)[0].name for one in listed} == {r.name for r in samplers.SAMPLERS}
    for one in listed:
        assert samplers.find_a1111(one["name"], None)[1] == one["options"]["scheduler"]
    for one in schedules:
        names = {samplers.find_a1111("Euler", name)[1] for name in (one["name"], one["label"], *(one["aliases"] or ()))}
        assert names == {"normal" if one["name"] == "automatic" else one["name"]}
    assert [one["title"] for one in get(client, "sd-models")] == ["scenes"]
    assert [one["name"] for one in get(client, "upscalers")] == ["None", "Lanczos", "Nearest"]


def test_what_this_server_does_not_have_is_listed_as_nothing(client: TestClient) -> None:
    for name in ("sd-vae", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "script-info",
                 "latent-upscale-modes", "extensions", "loras", "artists", "artist-categories"):  # fmt: skip
        assert get(client, name) == []
    assert get(client, "scripts") == {"txt2img": [], "img2img": []}
    assert get(client, "embeddings") == {"loaded": {}, "skipped": {}}
    assert get(client, "memory")["ram"]["used"] > 0
    assert get(client, "cmd-flags")["api_auth"] is None


def test_models_are_unloaded_and_loaded(client: TestClient) -> None:
    loaded = client.app.state.desk.jobs.shelf.loaded  # type: ignore[attr-defined]
    assert post(client, "unload-checkpoint") == {}
    assert "scenes" not in loaded()
    assert post(client, "reload-checkpoint") == {}
    assert "scenes" in loaded()
    assert [post(client, f"refresh-{what}") for what in ("checkpoints", "vae", "loras")] == [None] * 3


def test_clients_do_not_stop_the_server(client: TestClient) -> None:
    for name in ("stop", "kill", "restart"):
        answer = client.post(f"/sdapi/v1/server-{name}")
        assert (answer.status_code, answer.json()["error"]) == (403, "Forbidden")


def test_the_password_of_basic_authentication_is_the_key(tmp_path: Any) -> None:
    with serving(tmp_path / "jobs", Settings(api_key="secret")) as client:
        answer = client.get("/sdapi/v1/options")
        assert (answer.status_code, answer.headers["www-authenticate"][:5]) == (401, "Basic")
        assert client.get("/sdapi/v1/options", auth=("anybody", "secret")).status_code == 200
        assert client.get("/sdapi/v1/options", auth=("anybody", "wrong")).status_code == 401


def test_every_answer_of_this_interface_is_described(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    ours = {path: one for path, one in paths.items() if path.startswith(("/sdapi/", "/internal/"))}
    assert len(ours) > 35
    for path, methods in ours.items():
        for method, one in methods.items():
            assert {"400", "401", "404", "422", "429", "503"} <= one["responses"].keys(), (path, method)
            assert one["responses"]["400"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorOut") or (
                "a1111" in one["responses"]["400"]["content"]["application/json"]["schema"]["$ref"]
            )
