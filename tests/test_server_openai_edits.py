"""OpenAI's interface for pictures that start from pictures, without a socket."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.servers import read_events, serving
from tests.test_server_openai import drawn, error_of, job_of, opened

from scorefield.server.settings import Settings

EDIT, VARY = "/v1/images/edits", "/v1/images/variations"
CAT = {"prompt": "a cat in the snow", "steps": "2", "seed": "7"}
SIDE = 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("server"), Settings(most_input_pixels=10_000)) as client:
        yield client


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def colours() -> Image.Image:
    """A picture in which every pixel is another."""
    grid = np.mgrid[0:SIDE, 0:SIDE] * 8
    return Image.fromarray(np.stack([*grid, np.full((SIDE, SIDE), 90)], -1).astype(np.uint8))


def left_half(alpha: int, side: int = SIDE) -> bytes:
    """An opaque black picture whose left half has that alpha."""
    image = Image.new("RGBA", (side, side), (0, 0, 0, 255))
    image.paste((0, 0, 0, alpha), (0, 0, side // 2, side))
    return png(image)


def edit(server: TestClient, data: dict[str, str] | None = None, **files: bytes) -> Any:
    return server.post(EDIT, data=CAT | (data or {}), files={"image": png(colours())} | files)


def test_the_picture_is_drawn_anew_where_the_mask_is_transparent_and_kept_elsewhere(server: TestClient) -> None:
    answer = edit(server, mask=left_half(0))
    made, given = np.asarray(drawn(answer)), np.asarray(colours())
    assert np.array_equal(made[:, SIDE // 2 :], given[:, SIDE // 2 :])
    assert np.abs(made[:, : SIDE // 2].astype(int) - given[:, : SIDE // 2]).mean() > 20
    assert answer.json()["size"] == f"{SIDE}x{SIDE}"


def test_a_mask_that_is_almost_transparent_is_kept(server: TestClient) -> None:
    assert "no fully transparent pixel" in error_of(edit(server, mask=left_half(1)))["message"]


@pytest.mark.parametrize(
    ("given", "strength"),
    [({}, 0.75), ({"input_fidelity": "low"}, 0.75), ({"input_fidelity": "high"}, 0.5), ({"strength": "0.9"}, 0.9),
     ({"input_fidelity": "high", "strength": "0.9"}, 0.9)],
)  # fmt: skip
def test_fidelity_is_less_strength(server: TestClient, given: dict[str, str], strength: float) -> None:
    assert job_of(server, edit(server, given)).request.strength == strength


def test_markup_is_drawn_over_the_picture(server: TestClient) -> None:
    still = {"steps": "20", "strength": "0.05"}
    made = np.asarray(drawn(edit(server, still, markup=left_half(0))), int)
    plain = np.asarray(drawn(edit(server, still)), int)
    assert np.abs(made[:, : SIDE // 2 - 2] - plain[:, : SIDE // 2 - 2]).mean() < 20
    assert made[:, SIDE // 2 + 2 :].mean() < 30 < plain[:, SIDE // 2 + 2 :].mean()


def test_an_edit_is_streamed_under_its_own_name(server: TestClient) -> None:
    answer = edit(server, {"stream": "true", "partial_images": "1", "steps": "4", "strength": "1"})
    events = read_events(answer.text)
    assert [name for name, _ in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert opened(events[1][1]["b64_json"]).size == (SIDE, SIDE)


def test_a_list_of_one_picture_and_json_are_other_forms_of_the_same(server: TestClient) -> None:
    picture = png(colours())
    text = base64.b64encode(picture).decode()
    bodies: list[dict[str, Any]] = [
        {"data": CAT, "files": [("image[]", ("a.png", picture))]},
        {"json": CAT | {"image": text}},
        {"json": CAT | {"image": [f"data:image/png;base64,{text}"]}},
        {"json": CAT | {"images": [{"image_url": f"data:image/png;base64,{text}"}]}},
    ]
    expected = drawn(edit(server)).tobytes()
    assert [drawn(server.post(EDIT, **body)).tobytes() == expected for body in bodies] == [True] * 4


def test_a_mask_has_the_size_of_the_upright_picture(server: TestClient) -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (48, SIDE), "red").save(stream, "JPEG", exif=exif)
    files = {"image": stream.getvalue(), "mask": png(Image.new("RGBA", (SIDE, 48), (0, 0, 0, 0)))}
    assert drawn(server.post(EDIT, data=CAT, files=files)).size == (SIDE, 48)


@pytest.mark.parametrize(
    ("given", "files", "param", "line"),
    [
        ({}, {"image": b"/etc/passwd"}, None, "not a picture in a known format"),
        ({}, {"image": png(Image.new("RGB", (101, 100)))}, None, "at most 10000 are allowed"),
        ({}, {"mask": png(Image.new("RGBA", (101, 100)))}, None, "at most 10000 are allowed"),
        ({}, {"mask": left_half(0, 16)}, None, "the mask has 16 x 16 pixels, the image 32 x 32"),
        ({}, {"mask": png(colours())}, None, "no fully transparent pixel"),
        ({}, {"markup": png(colours())}, None, "would hide the whole image"),
        ({}, {"mask": left_half(0), "markup": left_half(0)}, "markup", "exclude each other"),
        ({"input_fidelity": "medium"}, {}, "input_fidelity", "must be 'high' or 'low'"),
        ({"strength": "2"}, {}, None, "strength must be a number from 0 to 1"),
        ({"last_image": "x"}, {}, "last_image", "there is no field 'last_image'"),
    ],
)
def test_what_is_wrong_with_pictures_is_said(
    server: TestClient, given: dict[str, str], files: dict[str, bytes], param: str | None, line: str
) -> None:
    answer = edit(server, given, **files)
    error = error_of(answer)
    assert (answer.status_code, error["param"]) == (400, param)
    assert line in error["message"]


def test_several_pictures_are_refused_rather_than_dropped(server: TestClient) -> None:
    picture = png(colours())
    answer = server.post(EDIT, data=CAT, files=[("image[]", ("a.png", picture)), ("image[]", ("b.png", picture))])
    error = error_of(answer)
    assert (answer.status_code, error["param"], error["code"]) == (400, "image", "unsupported_value")
    assert "there are 2 images, and the models here start from one" in error["message"]
    many = error_of(server.post(EDIT, data=CAT, files=[("image[]", ("a.png", b"x"))] * 17))
    assert many["message"] == "image has 17 pictures; at most 16 are allowed"


@pytest.mark.parametrize(
    ("image", "line"),
    [
        ("/etc/passwd", "image is not base64"),
        ("http://127.0.0.1/x.png", "this server fetches no addresses"),
        ({"image_url": "file:///etc/passwd"}, "this server fetches no addresses"),
        ({"file_id": "file-1"}, "this server keeps no files"),
        ({"path": "/etc/passwd"}, "image must be a picture in base64"),
        (None, "image is missing"),
        (7, "image must be a picture in base64"),
    ],
)
def test_no_text_of_a_client_is_opened(server: TestClient, image: object, line: str) -> None:
    answer = server.post(EDIT, json=CAT | {"image": image})
    assert answer.status_code == 400
    assert line in error_of(answer)["message"]


def test_a_variation_starts_from_the_picture_without_words(server: TestClient) -> None:
    answer = server.post(VARY, data={"n": "2", "steps": "2"}, files={"image": png(colours())})
    assert drawn(answer, 1).size == (SIDE, SIDE)
    request = job_of(server, answer).request
    assert (request.prompts, request.count, request.strength) == (("",), 2, 0.75)
    assert (
        error_of(server.post(VARY, data={"prompt": "x"}, files={"image": png(colours())}))["code"]
        == "unknown_parameter"
    )
