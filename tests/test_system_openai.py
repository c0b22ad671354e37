"""The `openai` SDK against a server with a socket: `make system`."""

import base64
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.servers import Served

pytestmark = pytest.mark.system
openai = pytest.importorskip("openai", reason="needs the extra `system`")

KEY = "a key"
TREE = {"prompt": "a tree in the desert"}
FEW: dict[str, Any] = {"extra_body": {"steps": 4, "seed": 7}}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server") / "jobs"
    with Served(folder, "--api-key", KEY, program="tests.servers") as served:
        yield served.address


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
        yield client


def opened(text: str | None) -> Image.Image:
    assert text is not None
    return Image.open(io.BytesIO(base64.b64decode(text)))


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def test_it_generates_and_reads_every_field(client: Any) -> None:
    response = client.images.generate(**TREE, model="scenes", n=2, size="64x64", quality="low", extra_body={"seed": 7})
    assert [opened(one.b64_json).size for one in response.data] == [(64, 64)] * 2
    assert (response.size, response.quality, response.output_format) == ("64x64", "low", "png")
    assert (response.usage.input_tokens, response.usage.total_tokens) == (5, 5)
    assert response._request_id.startswith("job_")


def test_an_address_is_fetched_with_the_key(client: Any) -> None:
    response = client.images.generate(**TREE, response_format="url", output_format="webp", **FEW)
    address = response.data[0].url
    assert httpx.get(address).status_code == 401
    content = httpx.get(address, headers={"authorization": f"Bearer {KEY}"}).content
    assert Image.open(io.BytesIO(content)).format == "WEBP"


def test_partial_pictures_stream_in_while_it_is_drawn(client: Any) -> None:
    start, came, events = time.monotonic(), [], []
    extra = {"steps": 40, "seed": 7}
    for event in client.images.generate(**TREE, stream=True, partial_images=3, extra_body=extra):
        came.append(time.monotonic())
        events.append(event)
    kinds = [type(event).__name__ for event in events]
    assert kinds == ["ImageGenPartialImageEvent"] * 3 + ["ImageGenCompletedEvent"]
    assert [event.partial_image_index for event in events[:3]] == [0, 1, 2]
    shown = [np.asarray(opened(event.b64_json), float) for event in events]
    away = [np.abs(one - shown[-1]).mean() for one in shown]
    assert away[0] > away[1] > away[2] > away[3] == 0
    assert came[3] - came[0] > 0.4 * (came[3] - start)  # steps 10 to 40 of 40
    assert events[3].usage.total_tokens == 5


def test_a_stream_that_is_closed_ends_its_job(client: Any, address: str) -> None:
    stream = client.images.generate(**TREE, stream=True, partial_images=3, extra_body={"steps": 150})
    job = stream.response.headers["x-request-id"]
    next(iter(stream))
    stream.close()
    with httpx.Client(base_url=address, headers={"authorization": f"Bearer {KEY}"}) as own:
        for _ in range(500):
            if (state := own.get(f"/jobs/{job}").json()["state"]) != "running":
                break
            time.sleep(0.01)
    assert state == "cancelled"


def test_an_edit_repaints_where_the_mask_is_transparent(client: Any) -> None:
    mask = Image.new("RGBA", (64, 64), "black")
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    files = {"image": ("a.png", png(Image.new("RGB", (64, 64), "red"))), "mask": ("m.png", png(mask))}
    response = client.images.edit(**files, prompt="a cat", input_fidelity="low", **FEW)
    made = np.asarray(opened(response.data[0].b64_json))
    assert (made[:, 32:] == (255, 0, 0)).all()
    assert not (made[:, :32] == (255, 0, 0)).all(-1).any()
    events = list(client.images.edit(**files, prompt="a cat", stream=True, partial_images=1, **FEW))
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]


def test_several_pictures_of_an_edit_are_refused_by_name(client: Any) -> None:
    picture = png(Image.new("RGB", (64, 64), "red"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=[("a.png", picture), ("b.png", picture)], prompt="a cat")
    assert (caught.value.param, caught.value.code) == ("image", "unsupported_value")
    assert client.images.edit(image=[("a.png", picture)], prompt="a cat", **FEW).size == "64x64"


def test_a_variation_is_like_its_picture(client: Any) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        response = client.images.create_variation(image=png(Image.new("RGB", (64, 64), "red")), **FEW)
    assert opened(response.data[0].b64_json).size == (64, 64)


def test_models_are_listed_and_retrieved(client: Any) -> None:
    assert {"scenes", "toy-film"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("scenes").owned_by == "scorefield"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_film_is_polled_downloaded_listed_and_deleted(client: Any, tmp_path: Path) -> None:
    video = client.videos.create_and_poll(
        prompt="a tree", model="toy-film", seconds="4", size="32x32", extra_body={"steps": 2}
    )
    assert (video.status, video.frames, video.seconds, video.size) == ("completed", 33, "4.12", "32x32")
    content = client.videos.download_content(video.id)
    content.write_to_file(tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"
    thumbnail = client.videos.download_content(video.id, variant="thumbnail").read()
    assert Image.open(io.BytesIO(thumbnail)).size == (32, 32)
    made = [client.videos.create(prompt="a tree", model="toy-film").id for _ in range(2)]
    assert [one.id for one in client.videos.list(limit=1)] == [made[1], made[0], video.id]  # three pages
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)


def test_errors_are_those_that_programs_catch(client: Any, address: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.images.generate(**TREE, model="gpt-image-2.5-flare")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.images.generate(**TREE, size="100x100")
    assert (wrong.value.code, wrong.value.param) == ("invalid_value", "size")
    assert "use 96x96 or 112x112" in wrong.value.message
    with pytest.raises(openai.BadRequestError, match="nearest is 'cfg_scale'"):
        client.images.generate(**TREE, extra_body={"cfg_scal": 5})
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{address}/v1", api_key="another", max_retries=0).models.list()


def test_many_clients_at_once_get_their_own_pictures(client: Any) -> None:
    def draw(seed: int) -> None:
        response = client.images.generate(**TREE, user=f"user {seed}", extra_body={"steps": 2, "seed": seed})
        found[seed] = response.data[0].b64_json

    found: dict[int, str] = {}
    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = client.images.generate(**TREE, extra_body={"steps": 2, "seed": 5}).data[0].b64_json
    assert len(set(found.values())) == 8
    assert opened(found[5]).tobytes() == opened(alone).tobytes()
