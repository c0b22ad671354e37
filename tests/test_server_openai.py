"""OpenAI's interface for pictures, without a socket."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.servers import read_events, serving_films

from scorefield.files import picture
from scorefield.queue.entry import Entry

GENERATE, EDIT = "/v1/images/generations", "/v1/images/edits"
TREE = {"prompt": "a tree in the desert", "steps": 2, "seed": 7}
TOY = {"prompt": "a tree", "model": "toy-film", "seed": 1}  # which draws in an instant


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving_films(tmp_path_factory.mktemp("server")) as client:
        yield client


def drawn(answer: Any, number: int = 0) -> Image.Image:
    """A picture of an answer, decoded."""
    assert answer.status_code == 200, answer.text
    return opened(answer.json()["data"][number]["b64_json"])


def opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def job_of(server: TestClient, answer: Any) -> Entry:
    """The job behind an answer."""
    entry = server.app.state.desk.jobs.entry(answer.headers["x-request-id"])
    assert entry is not None
    return entry


def error_of(answer: Any) -> dict[str, Any]:
    """The error of an answer, which has OpenAI's four entries and no other."""
    assert set(answer.json()) == {"error"}, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_a_picture_is_the_one_that_the_queue_has_drawn(server: TestClient) -> None:
    answer = server.post(GENERATE, json=TREE)
    body, job = answer.json(), job_of(server, answer)
    assert base64.b64decode(body["data"][0]["b64_json"]) == server.get(f"/jobs/{job.id}/outputs/0").content
    assert (body["size"], body["output_format"], body["background"]) == ("128x128", "png", "opaque")
    assert body["data"][0] | {"b64_json": None} == {"b64_json": None, "url": None, "revised_prompt": None, "seed": "7"}
    assert body["usage"]["input_tokens_details"] == {"image_tokens": 0, "text_tokens": 5}
    assert (body["usage"]["output_tokens"], body["usage"]["total_tokens"]) == (0, 5)


def test_n_pictures_are_of_following_seeds(server: TestClient) -> None:
    answer = server.post(GENERATE, json=TOY | {"n": 3})
    assert [one["seed"] for one in answer.json()["data"]] == ["1", "2", "3"]
    again = server.post(GENERATE, json=TOY | {"seed": 3})
    assert drawn(answer, 2).tobytes() == drawn(again).tobytes() != drawn(answer, 1).tobytes()


@pytest.mark.parametrize(
    ("quality", "steps", "called"),
    [
        ("auto", 4, "medium"), ("medium", 4, "medium"), ("standard", 4, "medium"), ("low", 2, "low"),
        ("high", 6, "high"), ("hd", 6, "high"), ("xhigh", 8, "xhigh"), ("max", 12, "max"),
    ],
)  # fmt: skip
def test_quality_is_a_share_of_the_models_own_steps(server: TestClient, quality: str, steps: int, called: str) -> None:
    answer = server.post(GENERATE, json=TOY | {"quality": quality})
    assert (job_of(server, answer).request.steps, answer.json()["quality"]) == (steps, called)


@pytest.mark.parametrize("name", ["steps", "num_inference_steps"])
def test_explicit_steps_count_more_than_quality(server: TestClient, name: str) -> None:
    assert job_of(server, server.post(GENERATE, json=TOY | {"quality": "max", name: 3})).request.steps == 3


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"cfg_scale": 2.5}, "cfg_scale", 2.5),
        ({"true_cfg_scale": 2.5}, "cfg_scale", 2.5),
        ({"guidance_scale": 0.5}, "cfg_scale", 1.0),  # as diffusers reads it: off
        ({"negative_prompt": "fog"}, "negative_prompt", "fog"),
        ({"sampler": "heun"}, "sampler", "heun"),
        ({"schedule": "karras"}, "schedule", "karras"),
        ({"size": "32x48"}, "height", 48),
        ({"size": "auto"}, "height", 16),
        ({"model": None, "size": None, "width": 32, "height": 48, "steps": 1}, "height", 48),
        ({"complexity": "high", "moderation": "low", "style": "vivid"}, "steps", 4),
    ],
)
def test_options_stand_at_top_level(server: TestClient, given: dict[str, Any], field: str, value: object) -> None:
    assert getattr(job_of(server, server.post(GENERATE, json=TOY | given)).request, field) == value


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_other_formats_keep_the_record_and_are_compressed(server: TestClient, form: str, tmp_path: Path) -> None:
    plain = server.post(GENERATE, json=TREE | {"output_format": form})
    small = server.post(GENERATE, json=TREE | {"output_format": form, "output_compression": 20})
    assert drawn(plain).format == form.upper()
    data = [base64.b64decode(one.json()["data"][0]["b64_json"]) for one in (plain, small)]
    assert len(data[1]) < len(data[0]) / 2
    path = tmp_path / "picture"
    path.write_bytes(data[1])
    assert (picture.read_history(path).ours or {})["seed"] == 7


@pytest.mark.parametrize("given", [{}, {"output_format": "jpeg", "output_compression": 40}, {"output_format": "webp"}])
def test_an_address_leads_to_the_same_bytes(server: TestClient, given: dict[str, Any]) -> None:
    address = server.post(GENERATE, json=TOY | given | {"response_format": "url"}).json()["data"][0]
    assert address["url"].startswith("http://127.0.0.1/v1/images/job_")
    assert address["b64_json"] is None
    inline = server.post(GENERATE, json=TOY | given).json()["data"][0]["b64_json"]
    got = server.get(address["url"])
    assert got.headers["content-type"] == f"image/{given.get('output_format', 'png')}"
    assert got.content == base64.b64decode(inline)


def test_an_address_of_what_there_is_not_is_not_found(server: TestClient) -> None:
    address = server.post(GENERATE, json=TOY | {"response_format": "url"}).json()["data"][0]["url"]
    assert server.get(address.replace("0.png", "0.gif")).status_code == 404
    assert server.get(address.replace("0.png", "1.png")).status_code == 404
    assert server.get("/v1/images/job_none/0.png").json()["error"]["code"] == "missing"


def test_partial_pictures_come_closer_to_the_finished_one(server: TestClient) -> None:
    answer = server.post(GENERATE, json=TREE | {"steps": 8, "stream": True, "partial_images": 3})
    assert answer.headers["content-type"].startswith("text/event-stream")
    names, events = zip(*read_events(answer.text), strict=True)
    assert names == ("image_generation.partial_image",) * 3 + ("image_generation.completed",)
    assert [event["type"] for event in events] == list(names)
    assert [event["partial_image_index"] for event in events[:3]] == [0, 1, 2]
    shown = [np.asarray(opened(event["b64_json"]), float) for event in events]
    away = [np.abs(one - shown[-1]).mean() for one in shown]
    assert away[0] > away[1] > away[2] > away[3] == 0
    assert events[-1]["usage"]["input_tokens"] == 5
    assert opened(events[-1]["b64_json"]).tobytes() == drawn(server.post(GENERATE, json=TREE | {"steps": 8})).tobytes()


def test_a_stream_without_partial_pictures_is_one_event_a_picture(server: TestClient) -> None:
    answer = server.post(GENERATE, json=TOY | {"stream": True, "n": 2, "output_format": "jpeg"})
    events = read_events(answer.text)
    assert [name for name, _ in events] == ["image_generation.completed"] * 2
    assert [(event["output_index"], event["seed"]) for _, event in events] == [(0, "1"), (1, "2")]
    assert opened(events[0][1]["b64_json"]).format == "JPEG"


@pytest.mark.parametrize(("count", "drawn_frames"), [(9, 9), (8, 9), (2, 5), (16, 17)])
def test_a_gif_has_its_frames_thinned_from_4k_plus_1(server: TestClient, count: int, drawn_frames: int) -> None:
    answer = server.post(
        GENERATE, json=TOY | {"output_format": "gif", "frame_count": count, "frame_duration_ms": 110, "steps": 1}
    )
    assert job_of(server, answer).frames == drawn_frames
    gif, shown = drawn(answer), 0
    for k in range(gif.n_frames):  # equal frames are joined
        gif.seek(k)
        shown += gif.info["duration"]
    assert (gif.format, shown) == ("GIF", count * 110)
    address = server.post(
        GENERATE,
        json=TOY | {"output_format": "gif", "frame_count": count, "frame_duration_ms": 110, "steps": 1,
                    "response_format": "url"},
    ).json()["data"][0]["url"]  # fmt: skip
    assert server.get(address).content == base64.b64decode(answer.json()["data"][0]["b64_json"])


@pytest.mark.parametrize(
    ("given", "param", "code", "line"),
    [
        ({"model": "nope"}, "model", "model_not_found", "no model 'nope' here; there are scenes"),
        ({"size": "100x50"}, "size", "invalid_value", "sides are multiples of 16; use 96x48 or 112x64"),
        ({"size": "large"}, "size", "invalid_value", "WIDTHxHEIGHT"),
        ({"size": "4096x4096"}, "size", "invalid_value", "too large for this server"),
        ({"quality": "best"}, "quality", "invalid_value", "quality must be 'auto', 'low'"),
        ({"n": 11}, "n", "invalid_value", "n must be less than or equal to 10, not 11"),
        ({"n": "many"}, "n", "invalid_value", "n must be a valid integer, not 'many'"),
        ({"partial_images": 4, "stream": True}, "partial_images", "invalid_value", "not 4"),
        ({"partial_images": 2}, "partial_images", "invalid_value", "needs stream"),
        ({"output_format": "svg"}, "output_format", "unsupported_value", "use png, jpeg, webp or gif"),
        ({"output_format": "gif"}, "output_format", "unsupported_value", "scenes draws pictures"),
        ({"output_format": "gif", "stream": True}, "stream", "invalid_value", "not streamed"),
        ({"frame_count": 9}, "frame_count", "invalid_value", "need output_format gif"),
        ({"output_compression": 50}, "output_compression", "invalid_value", "for jpeg and webp"),
        ({"background": "transparent"}, "background", "unsupported_value", "opaque"),
        ({"num_inference_step": 4}, "num_inference_step", "unknown_parameter", "nearest is 'num_inference_steps'"),
        ({"image": "/etc/passwd"}, "image", "unknown_parameter", "there is no field 'image'"),
        ({"device": "cuda"}, "device", "unknown_parameter", "there is no field 'device'"),
        ({"prompt": None}, "prompt", "missing_required_parameter", "prompt is missing"),
        ({"prompt": "\ud800"}, None, "request", "not valid text"),
        ({"user": "\ud800"}, "user", "invalid_value", "must be a valid string"),
        ({"true_cfg_scale": 2, "cfg_scale": 2}, "true_cfg_scale", "invalid_value", "another name of cfg_scale"),
        ({"steps": 151}, "steps", "request", "too many for this server"),
        ({"sampler": "eulr"}, "sampler", "request", "nearest: euler"),
    ],
)
def test_what_is_wrong_is_said_in_openais_form(
    server: TestClient, given: dict[str, Any], param: str | None, code: str, line: str
) -> None:
    before = len(server.get("/jobs").json()["jobs"])
    answer = server.post(GENERATE, content=json.dumps(TREE | given))
    error = error_of(answer)
    assert (answer.status_code, error["param"]) == (404 if code == "model_not_found" else 400, param)
    assert error["code"] == code
    assert line in error["message"]
    assert len(server.get("/jobs").json()["jobs"]) == before


@pytest.mark.parametrize("body", ["", "[]", "{", '{"prompt": NaN}', '"text"'])
def test_a_body_that_is_no_object_is_refused(server: TestClient, body: str) -> None:
    answer = server.post(GENERATE, content=body)
    assert answer.status_code == 400
    assert error_of(answer)["type"] == "invalid_request_error"


def test_a_damaged_form_is_refused(server: TestClient) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = server.post(EDIT, content=b"--y\r\nnothing", headers={"content-type": kind})
        assert answer.status_code == 400, answer.text
        error_of(answer)


def test_a_user_has_a_turn_of_its_own(server: TestClient) -> None:
    answers = [
        server.post(GENERATE, json=TOY | given)
        for given in ({}, {"user": "ann"}, {"user": "ann", "safety_identifier": "a1"})
    ]
    clients = [job_of(server, one).wish.client for one in answers]
    assert len(set(clients)) == 3
    assert [one.json()["safety_identifier"] for one in answers] == [None, "ann", "a1"]
