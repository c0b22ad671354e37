"""Two clients that others wrote for AUTOMATIC1111, webuiapi and sd-backend-client, over a socket: `make system`."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.servers import Served

import scorefield as sf

pytestmark = pytest.mark.system
webuiapi = pytest.importorskip("webuiapi", reason="needs the extra `system`")
backend = pytest.importorskip("sd_backend_client", reason="needs the extra `system`")

SMALL = {"width": 128, "height": 128, "steps": 4, "cfg_scale": 5.0, "seed": 7, "prompt": "a cat"}
LONG = SMALL | {"steps": 25, "n_iter": 20}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("server") / "jobs") as server:
        yield server


@pytest.fixture
def api(server: Served) -> Iterator[Any]:
    """A client; afterwards nothing is drawn any more."""
    client = webuiapi.WebUIApi(baseurl=f"{server.address}/sdapi/v1", sampler="Euler", steps=4)
    yield client
    client.interrupt()
    client.util_wait_for_ready(check_interval=0.05)


def picture() -> Image.Image:
    image = Image.new("RGB", (128, 128), (200, 40, 40))
    image.paste((30, 60, 220), (0, 0, 128, 64))
    return image


def white_square() -> Image.Image:
    mask = Image.new("L", (128, 128))
    mask.paste(255, (32, 32, 96, 96))
    return mask


def until(ready: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := ready()):
        assert time.monotonic() < end, "it did not happen within a minute"
        time.sleep(0.2)  # the server allows 600 requests a minute
    return found


def test_webuiapi_draws_the_pipelines_picture(api: Any) -> None:
    made = api.txt2img(**SMALL)
    expected = sf.load()("a cat", seed=7, steps=4, sampler="euler", schedule="normal", cfg_scale=5).image
    assert (np.asarray(made.image) == np.asarray(expected)).all()
    assert (made.info["all_seeds"], made.parameters["sampler_name"]) == ([7], "Euler")
    assert api.png_info(made.image).info == made.info["infotexts"][0]
    for sampler in ("DDIM", "DPM++ 2M"):
        with_eta, without = (api.txt2img(**SMALL, sampler_name=sampler, eta=eta).image for eta in (1.0, None))
        assert (np.asarray(with_eta) == np.asarray(without)).all(), sampler
    assert api.txt2img(prompt="a cat", steps=1).image.size == (512, 512), "that client's own size is drawn as asked"


def test_webuiapi_repaints_a_masked_region(api: Any) -> None:
    made = api.img2img(images=[picture()], mask_image=white_square(), mask_blur=0, denoising_strength=0.8, **SMALL)
    same = (np.asarray(made.image) == np.asarray(picture())).all(-1)
    assert same[:32].all()
    assert same[96:].all()
    assert not same[32:96, 32:96].all()
    whole = api.img2img(images=[picture()], **SMALL, batch_size=2)
    assert whole.info["all_seeds"] == [7, 8]
    with pytest.raises(RuntimeError, match="Init image not found"):
        api.img2img(images=[], **SMALL)


def test_webuiapi_follows_and_interrupts(api: Any) -> None:
    with ThreadPoolExecutor() as pool:
        drawing = pool.submit(lambda: api.txt2img(**LONG))
        seen = until(lambda: (found := api.get_progress())["state"]["job_no"] >= 1 and found["current_image"] and found)
        assert 1 / 20 <= seen["progress"] < 1
        assert seen["state"]["job_count"] == 20
        api.interrupt()
        made = drawing.result(60)
    assert 1 <= len(made.images) < 20
    api.util_wait_for_ready(check_interval=0.05)
    assert api.get_progress()["state"]["job_count"] == 0


def test_webuiapi_lists_and_chooses(api: Any) -> None:
    assert {"Euler", "Euler a", "DDIM", "DPM++ 2M", "UniPC"} <= set(api.util_get_sampler_names())
    assert {"automatic", "karras", "sgm_uniform"} <= set(api.util_get_scheduler_names())
    assert api.util_get_model_names() == ["scenes"]
    api.util_set_model("Scenes")
    assert api.util_get_current_model() == "scenes"
    api.set_options({"samples_format": "webp"})
    assert api.txt2img(**SMALL).image.format == "WEBP"
    api.set_options({"samples_format": "png"})
    assert api.get_options()["samples_format"] == "png"
    for name in ("cmd_flags", "sd_vae", "upscalers", "latent_upscale_modes", "loras", "sd_models", "hypernetworks",
                 "face_restorers", "realesrgan_models", "prompt_styles", "artist_categories", "artists", "scripts",
                 "embeddings", "memory"):  # fmt: skip
        assert isinstance(getattr(api, f"get_{name}")(), list | dict), name
    assert api.refresh_checkpoints() is None
    assert api.skip() is None
    enlarged = api.extra_single_image(picture(), upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=1.5)
    assert enlarged.image.size == (192, 192)
    with pytest.raises(RuntimeError, match="no model that describes pictures"):
        api.interrogate(picture())


def test_webuiapi_waits_in_an_event_loop(api: Any) -> None:
    async def both() -> list[Any]:
        return [*await asyncio.gather(*(api.txt2img(**SMALL | {"seed": k}, use_async=True) for k in (1, 2)))]

    first, second = asyncio.run(both())
    assert [first.info["seed"], second.info["seed"]] == [1, 2]


def test_a_job_has_the_name_that_its_client_gives(api: Any, server: Served) -> None:
    with ThreadPoolExecutor() as pool, server.client() as client:
        drawing = pool.submit(lambda: api.custom_post("txt2img", LONG | {"force_task_id": "task(mine)"}, baseurl=True))
        found = until(
            lambda: (
                (told := client.post("/internal/progress", json={"id_task": "task(mine)"}).json())["progress"] and told
            )
        )
        assert (found["active"], found["completed"]) == (True, False)
        assert client.get("/sdapi/v1/progress").json()["state"]["job"] == "task(mine)"
        assert client.post("/sdapi/v1/interrupt", params={"id_task": "task(mine)"}).json() == {}
        assert drawing.result(60).parameters["force_task_id"] == "task(mine)"
        assert client.post("/internal/progress", json={"id_task": "task(mine)"}).json()["completed"] is True


def test_a_client_that_hangs_up_ends_its_job(api: Any, server: Served) -> None:
    with server.client() as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/sdapi/v1/txt2img", json=LONG | {"n_iter": 64, "force_task_id": "left"}, timeout=1)
        told = until(
            lambda: (found := client.post("/internal/progress", json={"id_task": "left"}).json())["completed"] and found
        )
        assert told["active"] is False
        (job,) = client.get("/jobs?limit=1").json()["jobs"]
        assert (job["state"], len(job["outputs"]) < 64) == ("cancelled", True)


def test_sd_backend_client_recognises_the_server_and_draws(server: Served) -> None:
    service = backend.connect_to_backend(server.address)
    assert isinstance(service, backend.A1111Webservice)
    able = service.get_capabilities()
    assert (able.scheduler, able.controlnet, able.interrogate, able.ultimate_upscale) == (True, False, False, False)
    assert [one.name for one in service.list_checkpoints()] == ["scenes"]
    assert {one.name for one in service.list_samplers()} >= {"euler", "euler_ancestral", "dpmpp_2m", "ddim"}
    for what in ("schedulers", "vaes", "loras", "hypernetworks", "upscalers", "controlnet_models"):
        assert isinstance(getattr(service, f"list_{what}")(), list), what

    asked = {"prompt": "a cat", "width": 128, "height": 128, "seed": 7, "cfg_scale": 5.0, "sampler": "euler"}
    told: list[Any] = []
    body = backend.DiffusionRequestBody(**asked, steps=25, n_iter=3)
    result = service.submit_txt2img(body).wait(60, 0.05, told.append)
    assert len(result.images) == 3
    assert any(0 < (one.progress or 0) < 1 for one in told)
    body = backend.DiffusionRequestBody(
        **asked, steps=4, init_images=[picture()], mask=white_square(), denoising_strength=0.8, mask_blur=0
    )
    repainted = service.submit_inpaint(body).wait(60)
    same = (np.asarray(repainted.images[0].convert("RGB")) == np.asarray(picture())).all(-1)
    assert same[:32].all()
    assert not same[32:96, 32:96].all()
    assert service.submit_upscale(picture(), 256, 256).wait(60).images[0].size == (256, 256)

    handle = service.submit_txt2img(backend.DiffusionRequestBody(**asked, steps=25, n_iter=20))
    until(lambda: handle.poll().status is backend.GenerationStatus.ACTIVE and (handle.poll().progress or 0) > 0)
    assert handle.cancel()
    until(lambda: handle.done)
    service.disconnect()
