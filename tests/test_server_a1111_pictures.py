"""AUTOMATIC1111's pictures from pictures, and its tools for finished pictures."""

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient
from tests.servers import serving

import scorefield as sf
from scorefield.files import open_picture
from scorefield.queue.jobs import Limits
from scorefield.server.settings import Settings

STEPS, SIDE = 4, 128
INSIDE = (slice(48, 80), slice(48, 80))
RED, BLUE = (200, 40, 40), (30, 60, 220)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(limits=Limits(together=1, pixels=512 * 512), most_input_pixels=512 * 512)
    with serving(tmp_path_factory.mktemp("server") / "jobs", settings) as client:
        yield client


def draw(client: TestClient, **fields: object) -> np.ndarray:
    """The picture of an img2img."""
    asked = {"prompt": "a cat", "steps": STEPS, "seed": 7, "init_images": [start()], **fields}
    answer = client.post("/sdapi/v1/img2img", json=asked)
    assert answer.status_code == 200, answer.text
    (picture,) = answer.json()["images"]
    return pixels(picture)


def refused(client: TestClient, path: str, **fields: object) -> tuple[int, str]:
    answer = client.post(f"/sdapi/v1/{path}", json=fields)
    return answer.status_code, answer.json()["detail"]


def pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def b64(image: Image.Image, **options: Any) -> str:
    data = io.BytesIO()
    image.save(data, "PNG", **options)
    return base64.b64encode(data.getvalue()).decode()


def start() -> str:
    return b64(Image.new("RGB", (SIDE, SIDE), RED))


def mask(mode: str = "L", inside: Any = 255, outside: Any = 0, box: tuple[int, ...] = (32, 32, 96, 96)) -> str:
    image = Image.new(mode, (SIDE, SIDE), outside)
    image.paste(inside, box)
    return b64(image)


def test_a_picture_from_a_picture_is_the_pipelines(client: TestClient) -> None:
    data = base64.b64decode(start())
    walk = {"seed": 7, "steps": STEPS, "sampler": "euler", "schedule": "normal"}
    expected = sf.load()("a cat", image=data, strength=0.75, fit="stretch", **walk).image
    assert (draw(client) == np.asarray(expected)).all()
    assert (draw(client, init_images=["data:image/png;base64," + start()]) == np.asarray(expected)).all()


def test_resize_mode_stretches_or_crops(client: TestClient) -> None:
    wide = Image.new("RGB", (256, 128), RED)
    wide.paste(BLUE, (64, 0, 192, 128))
    by_mode = [
        draw(client, init_images=[b64(wide)], resize_mode=mode, width=128, height=128, denoising_strength=0.25)
        for mode in (0, 1)
    ]
    assert by_mode[0][64, 4, 0] > by_mode[1][64, 4, 0] + 50, "stretched, its edge is red; cropped, blue"


@pytest.mark.parametrize(
    ("masked", "kept"),
    [
        ({"mask": mask()}, "outside"),
        ({"mask": mask(), "inpainting_mask_invert": 1}, "inside"),
        ({"mask": mask("RGBA", (0, 0, 0, 255), (0, 0, 0, 0))}, "outside"),
        ({"mask": mask("RGBA", (255, 255, 255, 255), (0, 0, 0, 255))}, "outside"),
    ],
)
def test_a_mask_is_repainted_where_it_is_white_or_opaque(
    client: TestClient, masked: dict[str, object], kept: str
) -> None:
    picture = draw(client, mask_blur=0, **masked)
    middle = (picture[INSIDE] == RED).all()
    edge = (picture[:32] == RED).all()
    assert (middle, edge) == ((False, True) if kept == "outside" else (True, False))


def test_a_blurred_mask_loses_thin_lines(client: TestClient) -> None:
    thin = mask(box=(64, 0, 66, SIDE))
    assert (draw(client, mask=thin, mask_blur=0)[:, 64:66] != RED).any()
    fields = {"init_images": [start()], "mask": thin, "steps": STEPS}
    assert refused(client, "img2img", **fields, mask_blur=8)[0] == 400
    assert "no white pixel" in refused(client, "img2img", **fields, mask_blur_x=8)[1]


def test_a_masked_region_starts_from_the_colours_around_or_from_what_was_there(client: TestClient) -> None:
    image = Image.new("RGB", (SIDE, SIDE), RED)
    image.paste(BLUE, (32, 32, 96, 96))
    fields = {"init_images": [b64(image)], "mask": mask(), "mask_blur": 0, "denoising_strength": 0.25}
    around, there = (draw(client, inpainting_fill=fill, **fields)[INSIDE].mean((0, 1)) for fill in (0, 1))
    assert around[0] > around[2] + 50, "red"
    assert there[2] > there[0] + 50, "blue"
    whole = {**fields, "mask": mask(inside=255, outside=255)}
    assert (draw(client, inpainting_fill=0, **whole) == draw(client, inpainting_fill=1, **whole)).all()
    assert refused(client, "img2img", **fields, inpainting_fill=2)[0] == 400
    draw(client, **{**fields, "denoising_strength": 1, "inpainting_fill": 2})


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"init_images": None}, 404, "Init image not found"),
        ({"init_images": []}, 404, "Init image not found"),
        ({"init_images": [start(), start()]}, 400, "init_images has 2 pictures; give one"),
        ({"init_images": ["http://127.0.0.1/secret.png"]}, 400, "fetches no addresses"),
        ({"init_images": ["/etc/passwd"]}, 400, "init_images is not base64"),
        ({"init_images": ["etcpasswd123"]}, 400, "not a picture"),
        ({"init_images": ["file:///etc/passwd"]}, 400, "fetches no addresses"),
        ({"init_images": ["not base64!"]}, 400, "init_images is not base64"),
        ({"mask": "https://example.org/mask.png"}, 400, "fetches no addresses"),
        ({"init_images": [b64(Image.new("L", (1024, 1024)))]}, 400, "at most 262144 are allowed"),
        ({"resize_mode": 2}, 400, "resize_mode must be 0"),
        ({"denoising_strength": 0}, 400, "leaves none"),
        ({"denoising_strength": 1.5}, 422, "denoising_strength"),
        ({"latent_mask": start()}, 400, "latent_mask is not supported"),
        ({"mask_round": False}, 400, "mask_round is not supported"),
        ({"initial_noise_multiplier": 0.5}, 400, "initial_noise_multiplier is not supported"),
    ],
)
def test_pictures_and_options_that_cannot_be_used_are_refused(
    client: TestClient, fields: dict[str, object], status: int, said: str
) -> None:
    found, line = refused(client, "img2img", **{"steps": STEPS, "init_images": [start()], **fields})
    assert (found, said in line) == (status, True), line


def test_the_start_picture_comes_back_only_if_it_is_asked_for(client: TestClient) -> None:
    asked = {"prompt": "a cat", "steps": STEPS, "init_images": [start()], "mask": mask()}
    echo = client.post("/sdapi/v1/img2img", json=asked).json()["parameters"]
    assert (echo["init_images"], echo["mask"]) == (None, None)
    echo = client.post("/sdapi/v1/img2img", json={**asked, "include_init_images": True}).json()["parameters"]
    assert (echo["init_images"], echo["mask"]) == ([start()], mask())


def test_png_info_is_the_text_of_a_picture_with_its_parts(client: TestClient) -> None:
    text = "a cat\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, Size: 512x768, Seed: 1"
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    info.add_text("workflow", "{}")
    found = client.post("/sdapi/v1/png-info", json={"image": b64(Image.new("L", (8, 8)), pnginfo=info)}).json()
    assert (found["info"], found["items"]) == (text, {"workflow": "{}"})
    expected = {"Prompt": "a cat", "Negative prompt": "fog", "Steps": "20", "Size-1": "512", "Size-2": "768"}
    assert expected.items() <= found["parameters"].items()
    plain = client.post("/sdapi/v1/png-info", json={"image": b64(Image.new("L", (8, 8)))}).json()
    assert plain == {"info": "", "items": {}, "parameters": {}}
    assert refused(client, "png-info", image="AAAA")[0] == 400
    assert refused(client, "png-info", image="http://localhost/a.png")[0] == 400


def test_a_picture_of_very_many_parts_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_picture, "_MOST_READS", 1000)
    data = base64.b64decode(start())
    empty = b"\0\0\0\0tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))
    data = data[:33] + empty * 1000 + data[33:]
    with pytest.raises(open_picture.PictureError, match="parts"):  # before it is decoded
        client.app.state.desk.check_picture("image", data)  # type: ignore[attr-defined]
    image = base64.b64encode(data).decode()
    for path, fields in (("img2img", {"init_images": [image]}), ("png-info", {"image": image})):
        status, line = refused(client, path, **fields)
        assert (status, "more than 1000 parts" in line) == (400, True), line


def test_pictures_are_enlarged_by_resampling_alone(client: TestClient) -> None:
    small = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 16, 3), np.uint8))
    for name, how in (("Lanczos", Image.Resampling.LANCZOS), ("Nearest", Image.Resampling.NEAREST)):
        asked = {"image": b64(small), "upscaler_1": name, "upscaling_resize": 2}
        found = client.post("/sdapi/v1/extra-single-image", json=asked).json()
        assert (pixels(found["image"]) == np.asarray(small.resize((32, 16), how))).all()
    asked = {"resize_mode": 1, "upscaling_resize_w": 20, "upscaling_resize_h": 20, "upscaler_1": "Lanczos"}
    images = [{"data": b64(small), "name": "a"}, {"data": b64(small), "name": "b"}]
    found = client.post("/sdapi/v1/extra-batch-images", json={**asked, "imageList": images}).json()
    assert [pixels(one).shape for one in found["images"]] == [(20, 20, 3)] * 2
    same = client.post("/sdapi/v1/extra-single-image", json={"image": b64(small)}).json()["image"]
    assert (pixels(same) == np.asarray(small)).all()


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"upscaler_1": "R-ESRGAN 4x+"}, 400, "upscaler_1 must be one of None, Lanczos, Nearest"),
        ({"gfpgan_visibility": 1}, 400, "gfpgan_visibility is not supported"),
        ({"upscaling_resize": 64, "upscaler_1": "Lanczos"}, 400, "8192x8192"),
        ({"upscaling_resize": 0.001, "upscaler_1": "Lanczos"}, 400, "0x0"),
        ({"image": "https://example.org/a.png"}, 400, "fetches no addresses"),
    ],
)
def test_what_is_no_resampling_is_refused(
    client: TestClient, fields: dict[str, object], status: int, said: str
) -> None:
    found, line = refused(client, "extra-single-image", **{"image": start(), **fields})
    assert (found, said in line) == (status, True), line


def test_no_picture_is_put_into_words(client: TestClient) -> None:
    line = "this server has no model that describes pictures"
    assert refused(client, "interrogate", image=start(), model="clip") == (404, line)
    answer = client.get("/sdapi/v1/interrogate")
    assert (answer.status_code, answer.json()["detail"]) == (404, line)
