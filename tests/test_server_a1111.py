"""AUTOMATIC1111's way to draw: fields, samplers, models, pictures in and out, and what is refused."""

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from docs.notebooks.tiny_stable import tiny_stable
from PIL import Image
from starlette.testclient import TestClient
from tests.servers import serving

import scorefield as sf
from scorefield.errors import MachineError
from scorefield.queue.entry import State
from scorefield.queue.jobs import Limits
from scorefield.server.settings import Settings

STEPS = 2


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    models = tmp_path_factory.mktemp("models")
    tiny_stable(models / "my-model")
    settings = Settings(limits=Limits(together=1), most_input_pixels=512 * 512, rate="100000/minute")
    with serving(tmp_path_factory.mktemp("server") / "jobs", settings, (models,)) as client:
        yield client


def post(client: TestClient, path: str, **fields: object) -> dict[str, Any]:
    answer = client.post(f"/sdapi/v1/{path}", json=fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def draw(client: TestClient, **fields: object) -> tuple[list[np.ndarray], dict[str, Any]]:
    made = post(client, "txt2img", **{"prompt": "a cat", "steps": STEPS, "seed": 7, **fields})
    return [np.asarray(opened(one).convert("RGB")) for one in made["images"]], json.loads(made["info"])


def refused(client: TestClient, **fields: object) -> tuple[int, str]:
    answer = client.post("/sdapi/v1/txt2img", json={"steps": STEPS, **fields})
    body = answer.json()
    assert body.keys() == {"error", "detail", "body", "errors"}
    return answer.status_code, body["detail"]


def opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_a_picture_is_the_pipelines_by_euler_on_that_programs_levels(client: TestClient) -> None:
    (picture,), info = draw(client)
    expected = sf.load()("a cat", seed=7, steps=STEPS, sampler="euler", schedule="normal").image
    assert (picture == np.asarray(expected)).all()
    assert (info["sampler_name"], info["extra_generation_params"]) == ("Euler", {"Schedule type": "Normal"})


def test_what_a_client_leaves_out_is_the_models_and_what_it_sends_is_drawn(client: TestClient) -> None:
    made = post(client, "txt2img", prompt="a cat")
    filled = {name: made["parameters"][name] for name in ("width", "height", "steps", "cfg_scale", "seed")}
    assert filled == {"width": 128, "height": 128, "steps": 25, "cfg_scale": 5.0, "seed": -1}
    assert json.loads(made["info"])["seed"] >= 0
    (picture,), info = draw(client, width=96, height=64.0, steps=1, cfg_scale=2)
    assert (picture.shape, info["width"], info["height"], info["steps"]) == ((64, 96, 3), 96, 64, 1)


def test_pictures_have_the_seeds_that_follow_and_each_is_the_single_one(client: TestClient) -> None:
    pictures, info = draw(client, batch_size=2, n_iter=2, seed=10, negative_prompt="fog")
    assert info["all_seeds"] == [10, 11, 12, 13]
    assert info["all_prompts"] == ["a cat"] * 4
    assert info["all_negative_prompts"] == ["fog"] * 4
    assert [f"Seed: {seed}," in text for seed, text in zip(range(10, 14), info["infotexts"], strict=True)] == [True] * 4
    (single,), _ = draw(client, seed=12, negative_prompt="fog")
    assert (pictures[2] == single).all()


@pytest.mark.parametrize(
    ("sampler", "scheduler", "line"),
    [
        ("DPM++ 2M", None, "Sampler: DPM++ 2M, Schedule type: Karras"),
        ("DPM++ 2M", "Automatic", "Sampler: DPM++ 2M, Schedule type: Karras"),
        ("DPM++ 2M Karras", None, "Sampler: DPM++ 2M, Schedule type: Karras"),
        ("k_euler_a", "automatic", "Sampler: Euler a, Schedule type: Normal"),
        ("Euler", "SGM Uniform", "Sampler: Euler, Schedule type: SGM Uniform"),
        ("DDIM", "", "Sampler: DDIM, Schedule type: DDIM"),
    ],
)
def test_samplers_and_schedules_mean_what_they_mean_there(
    client: TestClient, sampler: str, scheduler: str | None, line: str
) -> None:
    _, info = draw(client, sampler_name=sampler, scheduler=scheduler, sampler_index="Heun")
    assert line in info["infotexts"][0]
    _, info = draw(client, sampler_index=sampler, scheduler=scheduler)
    assert line in info["infotexts"][0]


def test_eta_changes_only_samplers_that_draw_noise_anyway(client: TestClient) -> None:
    for name in ("DDIM", "Euler", "DPM++ 2M"):
        assert (draw(client, sampler_name=name, eta=1.0)[0][0] == draw(client, sampler_name=name)[0][0]).all(), name
    ancestral = [draw(client, sampler_name="Euler a", eta=eta)[0][0] for eta in (None, 1.0, 0.0)]
    assert (ancestral[0] == ancestral[1]).all()
    assert (ancestral[0] != ancestral[2]).any()


def test_values_that_switch_nothing_on_are_accepted(client: TestClient) -> None:
    harmless = {
        "enable_hr": False, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7, "styles": [],
        "subseed": -1, "subseed_strength": 0, "seed_resize_from_h": 0, "seed_resize_from_w": -1, "restore_faces": False,
        "tiling": False, "eta": 1.0, "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1, "script_name": None,
        "script_args": [], "alwayson_scripts": {}, "override_settings": {"filter_nsfw": False}, "unheard_of": [1],
        "refiner_checkpoint": None, "comments": {"a": "b"}, "save_images": True, "scheduler": "automatic",
    }  # fmt: skip
    assert (draw(client, **harmless)[0][0] == draw(client)[0][0]).all()


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"sampler_name": "Euler of Nowhere"}, 404, "Sampler not found"),
        ({"scheduler": "nowhere"}, 400, "unknown schedule"),
        ({"script_name": "x/y/z plot"}, 422, "Script 'x/y/z plot' not found"),
        ({"alwayson_scripts": {"ControlNet": {"args": []}}}, 422, "'ControlNet' not found"),
        ({"enable_hr": True}, 400, "enable_hr is not supported"),
        ({"restore_faces": True}, 400, "restore_faces is not supported"),
        ({"tiling": True}, 400, "tiling is not supported"),
        ({"subseed_strength": 0.5}, 400, "subseed_strength is not supported"),
        ({"seed_resize_from_w": 64}, 400, "seed_resize_from_w is not supported"),
        ({"s_churn": 5}, 400, "s_churn is not supported"),
        ({"refiner_checkpoint": "xl"}, 400, "refiner_checkpoint is not supported"),
        ({"infotext": "a cat"}, 400, "infotext is not supported"),
        ({"styles": ["baroque"]}, 400, "no style 'baroque'"),
        ({"override_settings": {"sd_vae": "other.pt"}}, 400, "sd_vae 'other.pt' is not supported"),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, 400, "clip_skip is not an option of"),
        ({"override_settings": {"samples_format": "exr"}}, 400, "png, jpg, jpeg, webp"),
        ({"override_settings": {"sd_model_checkpoint": "/etc/passwd"}}, 404, "model '/etc/passwd' not found"),
        ({"steps": "20"}, 422, "steps: Input should be a valid integer"),
        ({"steps": 151}, 400, "at most 150"),
        ({"batch_size": 65}, 400, "at most 64 a request"),
        ({"batch_size": 0}, 422, "batch_size"),
        ({"width": 100}, 400, "not a multiple of 16"),
        ({"seed": -7}, 400, "seed must be"),
        ({"prompt": "<lora:x:1>"}, 400, "<lora:x:1> is not supported"),
    ],
)
def test_what_would_change_the_picture_and_is_not_offered_is_refused(
    client: TestClient, fields: dict[str, object], status: int, said: str
) -> None:
    found, line = refused(client, **fields)
    assert found == status
    assert said in line


def test_numbers_that_json_does_not_have_are_no_fault_of_the_server(client: TestClient) -> None:
    for body in ('{"script_args": [NaN]}', '{"cfg_scale": Infinity}', '{"override_settings": {"\\ud800": 1}}',
                 '{"prompt": "\\ud800"}', "[" * 100_000, "{", '{"seed": 1' + "0" * 5000 + "}"):  # fmt: skip
        answer = client.post("/sdapi/v1/txt2img", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), (body[:40], answer.text)


@pytest.mark.parametrize(
    "name", ["my-model", "my-model.safetensors", "my-model [0123456789]", "sub/my-model.ckpt [abcdef12]"]
)
def test_a_model_is_chosen_by_name_title_or_file_for_one_job(client: TestClient, name: str) -> None:
    _, info = draw(client, override_settings={"sd_model_checkpoint": name}, width=64, height=64)
    assert info["sd_model_name"] == "my-model"
    assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "scenes"


def test_a_clip_reads_weights_as_there_and_stops_at_the_layer_that_is_asked(client: TestClient) -> None:
    chosen = {"sd_model_checkpoint": "my-model"}
    size = {"width": 64, "height": 64, "prompt": "a (cat:1.4)", "seed": 1}
    (picture,), info = draw(client, override_settings=chosen, **size)
    assert "Weighting: a1111" in info["infotexts"][0]
    (other,), info = draw(client, override_settings={**chosen, "CLIP_stop_at_last_layers": 2}, **size)
    assert (info["clip_skip"], (picture != other).any()) == (2, True)


def test_settings_stay_if_they_are_not_to_be_restored(client: TestClient) -> None:
    kept = {"override_settings": {"samples_format": "webp"}, "override_settings_restore_afterwards": False}
    try:
        made = post(client, "txt2img", prompt="a cat", steps=STEPS, **kept)
        again = post(client, "txt2img", prompt="a cat", steps=STEPS)
        assert [opened(one["images"][0]).format for one in (made, again)] == ["WEBP", "WEBP"]
    finally:
        post_options = client.post("/sdapi/v1/options", json={"samples_format": "png"})
    assert post_options.json() is None


@pytest.mark.parametrize(("form", "kind"), [("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
def test_every_format_says_how_it_was_drawn(client: TestClient, form: str, kind: str) -> None:
    made = post(client, "txt2img", prompt="a café, 猫", steps=STEPS, override_settings={"samples_format": form})
    assert opened(made["images"][0]).format == kind
    told = post(client, "png-info", image="data:image/x;base64," + made["images"][0])
    assert told["info"] == json.loads(made["info"])["infotexts"][0]
    assert told["parameters"]["Prompt"] == "a café, 猫"
    assert (told["parameters"]["Size-1"], told["parameters"]["Steps"]) == ("128", str(STEPS))


def test_a_grid_comes_first_only_where_pictures_are_saved(client: TestClient) -> None:
    pictures, info = draw(client, batch_size=2)
    assert (len(pictures), info["index_of_first_image"], len(info["infotexts"])) == (2, 0, 2)
    pictures, info = draw(client, batch_size=2, save_images=True)
    assert (len(pictures), info["index_of_first_image"], len(info["infotexts"])) == (3, 1, 3)
    assert pictures[0].shape[0] > pictures[1].shape[0]
    pictures, _ = draw(client, batch_size=2, send_images=False)
    assert pictures == []


def test_a_job_that_fails_is_an_error_that_says_why(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str) -> None:
        raise MachineError(f"no memory for {name}")

    desk = client.app.state.desk  # type: ignore[attr-defined]
    known = desk.jobs.shelf.system("scenes")
    monkeypatch.setattr(desk.jobs.shelf, "_known", lambda name: known)
    monkeypatch.setattr(desk.jobs.shelf, "system", full)
    assert refused(client, prompt="a cat") == (503, "no memory for scenes")


def test_a_model_of_films_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = client.app.state.desk.jobs.shelf  # type: ignore[attr-defined]
    monkeypatch.setattr(shelf, "options", lambda name: ["frames", "steps"])
    status, line = refused(client, prompt="a cat")
    assert (status, "draws films" in line) == (400, True)


def test_a_client_that_leaves_ends_its_job(client: TestClient) -> None:
    body = json.dumps({"prompt": "a cat", "steps": 100, "n_iter": 20, "force_task_id": "left"}).encode()
    jobs = client.app.state.desk.jobs  # type: ignore[attr-defined]

    async def leave() -> None:
        told = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, object]:
            if told:
                return told.pop()
            while (entry := jobs.folder.ledger.labelled("left")) is None or entry.state is not State.RUNNING:
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: object) -> None:
            pass

        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/sdapi/v1/txt2img",
            "raw_path": b"/sdapi/v1/txt2img", "query_string": b"", "root_path": "", "headers": headers,
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
        }  # fmt: skip
        await client.app(scope, receive, send)  # type: ignore[arg-type]

    client.portal.call(leave)  # type: ignore[union-attr]
    assert jobs.folder.ledger.labelled("left").state is State.CANCELLED
