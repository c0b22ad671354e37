"""Records over HTTP: settings from files, the walk of an output, the pictures that a job was given."""

import base64
from collections.abc import Iterator
from io import BytesIO

import pytest
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient
from tests.servers import serving, wait

A1111 = (
    "a (red:1.2) car\nNegative prompt: rain\n"
    "Steps: 30, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 123456789012, Size: 512x768, "
    "Model hash: abc, Model: somewhere, Clip skip: 2"
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("server")) as client:
        yield client


def png(color: str = "red", **texts: str) -> bytes:
    info, stream = PngImagePlugin.PngInfo(), BytesIO()
    for name, value in texts.items():
        info.add_text(name, value)
    Image.new("RGB", (24, 16), color).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def drawn(client: TestClient, **options: object) -> dict[str, object]:
    made = client.post("/jobs", json={"prompts": "a red car", "steps": 2, "seed": 7, **options})
    assert made.status_code == 202, made.text
    return wait(client, made.json()["id"])


def test_a_drawn_picture_gives_its_settings_back(client: TestClient) -> None:
    job = drawn(client, cfg_scale=3, sampler="heun", count=2, seed=2**53 + 1)
    read = client.post("/read", content=client.get(job["outputs"][1]["url"]).content).json()
    assert (read["source"], read["width"], read["height"], read["notes"]) == ("scorefield", 128, 128, [])
    wanted = {
        "prompts": ["a red car"],
        "seed": str(2**53 + 2),
        "count": 1,
        "cfg_scale": 3,
        "sampler": "heun",
        "steps": 2,
    }
    assert wanted.items() <= read["settings"].items()
    assert not {"device", "dtype", "image", "strength"} & read["settings"].keys()


def test_the_settings_of_a_picture_draw_it_again(client: TestClient) -> None:
    first = client.get(drawn(client)["outputs"][0]["url"]).content
    again = wait(client, client.post("/jobs", json=client.post("/read", content=first).json()["settings"]).json()["id"])
    second = client.get(again["outputs"][0]["url"]).content
    assert Image.open(BytesIO(first)).tobytes() == Image.open(BytesIO(second)).tobytes()


def test_settings_of_automatic1111_come_in_our_names(client: TestClient) -> None:
    read = client.post("/read", content=png(parameters=A1111)).json()
    assert read["source"] == "AUTOMATIC1111"
    assert read["notes"] == ["the model 'somewhere' is not on this server"]
    assert read["settings"] == {
        "prompts": ["a (red:1.2) car"], "negative_prompt": "rain", "steps": 30, "cfg_scale": 6.5,
        "seed": "123456789012", "clip_skip": 2, "sampler": "dpmpp_2m", "schedule": "karras",
        "width": 512, "height": 768,
    }  # fmt: skip


def test_what_is_not_understood_is_noted(client: TestClient) -> None:
    text = A1111.replace("DPM++ 2M", "Magic").replace("CFG scale: 6.5", "CFG scale: many")
    read = client.post("/read", content=png(parameters=text)).json()
    assert any("Magic" in note for note in read["notes"])
    assert any("CFG scale 'many' is not understood" in note for note in read["notes"])
    assert not {"sampler", "cfg_scale"} & read["settings"].keys()


def test_a_picture_without_a_record_has_no_settings(client: TestClient) -> None:
    read = client.post("/read", content=png()).json()
    assert (read["source"], read["settings"]) == (None, {})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"hello", png()[:40], png(scorefield='{"request": 3}'), png(scorefield='{"index": 1}'),
        png(parameters=A1111.replace("Steps: 30", "Steps: 99999")), b"\0\0\0\x18ftypisom",
    ],
    ids=["empty", "text", "cut off", "a strange record", "half a record", "too many steps", "half a film"],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_the_clients_fault(client: TestClient, body: bytes) -> None:
    answer = client.post("/read", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_the_walk_of_an_output_goes_from_noise_to_the_picture(client: TestClient) -> None:
    job = drawn(client, steps=4)
    levels = client.get(f"/jobs/{job['id']}/outputs/0/walk").json()["levels"]
    assert len(levels) == 5
    assert (levels[0], levels[-1]) == ([0.0, 1.0], [1.0, 0.0])
    assert client.get(f"/jobs/{job['id']}/outputs/3/walk").status_code == 404


def test_the_pictures_that_a_job_was_given_can_be_had_again(client: TestClient) -> None:
    start, mask = png(), png("white")
    given = {"image": base64.b64encode(start).decode(), "mask": base64.b64encode(mask).decode()}
    job = drawn(client, **given)
    for name, data in (("image", start), ("mask", mask)):
        answer = client.get(f"/jobs/{job['id']}/given/{name}")
        assert (answer.content, answer.headers["content-type"]) == (data, "image/png")
    assert client.get(f"/jobs/{job['id']}/given/last_image").status_code == 404
    assert client.get(f"/jobs/{job['id']}/given/prompts").status_code == 422
    assert client.get("/jobs/job_0/given/image").status_code == 404
