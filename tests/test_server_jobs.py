import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.servers import read_events, serving, wait

import scorefield as sf
from scorefield.queue.jobs import Limits
from scorefield.server.settings import Settings

STEPS = 4


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(limits=Limits(together=1), most_input_pixels=512 * 512, webhook_hosts=("127.0.0.1",))
    with serving(tmp_path_factory.mktemp("server") / "jobs", settings) as client:
        yield client


def submit(client: TestClient, prompt: object = "a cat", **options: object) -> dict[str, Any]:
    answer = client.post("/jobs", json={"prompts": prompt, "steps": STEPS, **options})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def png(size: tuple[int, int] = (128, 128), colour: tuple[int, int, int] = (90, 150, 60)) -> str:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["message"]


def test_a_job_is_accepted_drawn_and_its_picture_is_the_pipelines(client: TestClient) -> None:
    job = submit(client, seed=7)
    assert (job["state"], job["total"], job["request"]["seed"]) == ("queued", 1, "7")
    done = wait(client, job["id"])
    assert (done["state"], done["progress"], done["position"]) == ("done", 1, None)
    (output,) = done["outputs"]
    answer = client.get(output["url"])
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == f'"{output["sha256"]}"'
    drawn = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    assert (drawn == np.asarray(sf.load()("a cat", seed=7, steps=STEPS).image)).all()


def test_events_tell_every_step_with_previews_that_near_the_picture(client: TestClient) -> None:
    before = submit(client, "a dog", seed=3, steps=40)  # keeps the worker busy until the stream has begun
    job = submit(client, "a red car", seed=2, negative_prompt="fog", count=2)
    answer = client.get(f"/jobs/{job['id']}/events?previews=all")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = read_events(answer.text)
    names = [name for name, _ in events]
    assert names[0] == "job"
    assert names[-1] == "job"
    assert (events[-1][1]["state"], len(events[-1][1]["outputs"])) == ("done", 2)
    progress = [data["progress"] for name, data in events if name == "step"]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    previews = [data for name, data in events if name == "preview"]
    assert [(one["index"], one["i"]) for one in previews] == [(k, i) for k in (0, 1) for i in range(1, STEPS)]
    final = np.asarray(Image.open(io.BytesIO(client.get(f"/jobs/{job['id']}/outputs/0").content)).convert("RGB"))
    far = [np.abs(decoded(one["image"]) - final).mean() for one in previews if one["index"] == 0]
    assert far == sorted(far, reverse=True)
    assert far[-1] < far[0] / 2
    wait(client, before["id"])


def decoded(url: str) -> np.ndarray:
    data = base64.b64decode(url.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_events_of_a_job_that_is_over_are_its_state_alone(client: TestClient) -> None:
    job = submit(client)
    wait(client, job["id"])
    names = [name for name, _ in read_events(client.get(f"/jobs/{job['id']}/events").text)]
    assert names == ["job", "job"]


def test_a_job_starts_from_an_uploaded_picture_under_a_mask(client: TestClient) -> None:
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (0, 0, 64, 128))
    data = io.BytesIO()
    mask.save(data, "PNG")
    job = submit(
        client, "a tree", image=f"data:image/png;base64,{png()}", mask=base64.b64encode(data.getvalue()).decode()
    )
    done = wait(client, job["id"])
    assert done["state"] == "done", done["error"]
    drawn = np.asarray(Image.open(io.BytesIO(client.get(done["outputs"][0]["url"]).content)).convert("RGB"))
    assert (drawn[:, 64:] == (90, 150, 60)).all()
    assert not (drawn[:, :64] == (90, 150, 60)).all()


def test_kept_steps_are_pictures_from_noise_to_the_result(client: TestClient) -> None:
    job = submit(client, seed=1, keep_steps=True)
    (output,) = wait(client, job["id"])["outputs"]
    assert output["steps"] == STEPS + 1
    url = f"/jobs/{job['id']}/outputs/0/steps"
    for i in range(STEPS + 1):
        for what in ("noisy", "clean"):
            answer = client.get(f"{url}/{i}/{what}")
            assert answer.headers["content-type"] == "image/webp"
            assert Image.open(io.BytesIO(answer.content)).size == (128, 128)
    assert error(client.get(f"{url}/{STEPS + 1}/clean")) == (404, f"step {STEPS + 1} of this output is not kept")
    assert client.get(f"{url}/0/other").status_code == 422


def test_a_job_is_cancelled_and_deleted(client: TestClient) -> None:
    first = submit(client, steps=100)
    second = submit(client, seed=4)
    assert client.post(f"/jobs/{second['id']}/cancel").json()["state"] == "cancelled"
    assert client.delete(f"/jobs/{first['id']}").status_code == 204
    assert error(client.get(f"/jobs/{first['id']}")) == (404, f"there is no job '{first['id']}'")
    assert wait(client, second["id"])["state"] == "cancelled"


def test_jobs_are_listed_by_pages_and_found_by_words(client: TestClient) -> None:
    ids = [submit(client, f"a snowman {k}", steps=1)["id"] for k in range(3)]
    for job in ids:
        wait(client, job)
    first = client.get("/jobs", params={"limit": 2, "words": "SNOWMAN"}).json()
    assert [job["id"] for job in first["jobs"]] == ids[:0:-1]
    rest = client.get("/jobs", params={"limit": 2, "words": "snowman", "before": first["next"]}).json()
    assert [job["id"] for job in rest["jobs"]] == ids[:1]
    assert rest["next"] is None


def test_models_tell_what_they_take_and_words_what_they_do_not_know(client: TestClient) -> None:
    listed = client.get("/models").json()
    assert listed["models"][0]["name"] == "scenes"
    assert "euler" in listed["samplers"]
    assert "trailing" in listed["schedules"]
    scenes = client.get("/models/scenes").json()
    assert {"prompts", "steps", "image", "strength"} <= set(scenes["options"])
    assert "frames" not in scenes["options"]
    assert scenes["defaults"]["width"] == 128
    words = client.post("/words", json={"prompt": "a zeppelin in the desert"}).json()
    assert words["tokens"] == 4, "unknown words are left out"
    assert list(words["unknown"]) == ["zeppelin"]
    assert error(client.get("/models/nope"))[0] == 404


def test_a_plan_tells_memory_and_time_and_draws_nothing(client: TestClient) -> None:
    before = len(client.get("/jobs?limit=200").json()["jobs"])
    plan = client.post("/plan", json={"prompts": "a cat", "count": 3}).json()
    assert plan["fits"]
    assert 1e8 < plan["peak_bytes"] < 2e9
    assert plan["request"]["steps"] == 25
    assert plan["seconds"] is None or plan["seconds"] > 0
    assert len(client.get("/jobs?limit=200").json()["jobs"]) == before


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ({}, 400, "there is no prompt; say what to draw"),
        ({"prompts": 3}, 400, "prompts must be a text, or 1 to 256 texts, not 3"),
        ({"prompts": "a", "stepz": 3}, 400, "there is no option 'stepz'; nearest: steps"),
        ({"prompts": "a", "steps": -1}, 400, "steps must be a whole number from 1 to 1000, not -1"),
        ({"prompts": "a", "steps": 999}, 400, "999 steps are too many for this server: at most 150"),
        ({"prompts": "a", "count": 65}, 400, "65 outputs are too many for this server: at most 64 a request"),
        ({"prompts": "a", "size": "4096x4096"}, 400, "4096x4096 is too large for this server: at most 4194304 pixels"),
        ({"prompts": "a", "model": "/etc/passwd"}, 404, "no model '/etc/passwd' here; there are scenes"),
        ({"prompts": "a", "model": "../../x"}, 404, "no model '../../x' here; there are scenes"),
        ({"prompts": "a", "image": "/etc/passwd"}, 400, "image is not base64"),
        ({"prompts": "a", "image": {"path": "/etc/passwd"}}, 400, "image must be a picture in base64"),
        ({"prompts": "a", "image": "http://127.0.0.1/x.png"}, 400, "image must be a picture in base64; this server"),
        ({"prompts": "a", "image": "aGVsbG8="}, 400, "image is not a picture in a known format"),
        ({"prompts": "a", "image": png((1024, 512))}, 400, "image has 1024 x 512 pixels; at most 262144 are allowed"),
        ({"prompts": "a", "device": "cuda"}, 400, "device is chosen by the server's operator"),
        ({"prompts": "a", "loras": ["/x"]}, 400, "loras is chosen by the server's operator"),
        ({"prompts": "a", "keep_steps": 1}, 400, "keep_steps must be true or false"),
        ({"prompts": "a", "webhook": "http://10.0.0.1/"}, 400, "webhook must be an http(s) address of a host"),
        ({"prompts": "a", "webhook": "ftp://127.0.0.1/"}, 400, "webhook must be an http(s) address of a host"),
        ({"prompts": "a\u0000"}, 400, "the prompt 'a\\x00' holds a control character; remove it"),
    ],
)  # fmt: skip
def test_a_bad_job_is_one_line(client: TestClient, body: dict[str, object], status: int, line: str) -> None:
    found, said = error(client.post("/jobs", json=body))
    assert (found, said[: len(line)]) == (status, line)
    assert "\n" not in said


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"a"', '{"prompts": NaN}', '{"prompts": "a", "steps": Infinity}', '{"prompts": "\\ud800"}',
     '{"prompts": "a", "seed": ' + "9" * 5000 + "}", "[" * 100_000, "\xff\xfe"],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(client: TestClient, text: str) -> None:
    answer = client.post("/jobs", content=text.encode("latin-1"), headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "name", ["../jobs.sqlite", "..%2fjobs.sqlite", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "a\x00b", "x" * 5000]
)
def test_no_name_leads_out_of_the_folder(client: TestClient, name: str) -> None:
    job = submit(client, steps=1)
    wait(client, job["id"])
    for path in (f"/jobs/{name}", f"/jobs/{name}/outputs/0", f"/jobs/{job['id']}/outputs/{name}", f"/models/{name}"):
        try:
            answer = client.get(path)
        except Exception as refused:  # noqa: BLE001 - the client itself refuses some of these
            assert "InvalidURL" in type(refused).__name__  # noqa: PT017
            continue
        assert answer.status_code in (404, 422), path
        assert b"SQLite" not in answer.content
        assert b"root:" not in answer.content


def test_health_and_metrics_tell_how_the_server_fares(client: TestClient) -> None:
    assert client.get("/health/live").json()["status"] == "ok"
    assert client.get("/health/ready").status_code == 200
    job = submit(client, steps=1)
    wait(client, job["id"])
    text = client.get("/metrics").text
    assert 'scorefield_jobs_accepted_total{face="jobs"}' in text
    assert 'scorefield_model_bytes{model="scenes"}' in text


def test_a_full_queue_says_so_and_when_to_come_again(tmp_path: Path) -> None:
    with serving(tmp_path / "jobs", Settings(limits=Limits(waiting=1))) as client:
        submit(client, steps=100)
        answer = client.post("/jobs", json={"prompts": "a"})
        assert error(answer) == (429, "1 jobs are waiting, which is the most; try again later")
        assert answer.headers["retry-after"]
        assert client.get("/health/ready").status_code == 503


def test_the_description_names_every_option_and_every_error(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    post = described["paths"]["/jobs"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert {"prompts", "steps", "cfg_scale", "image", "keep_steps", "model"} <= set(schema["properties"])
    assert "device" not in schema["properties"]
    assert {"202", "400", "401", "404", "413", "429", "503"} <= set(post["responses"])
    assert post["requestBody"]["content"]["application/json"]["examples"]
