"""What a request says of the picture to start from."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from scorefield.errors import RequestError
from scorefield.request import InputImage, parse


def wrong(**values: object) -> str:
    with pytest.raises(RequestError) as caught:
        parse({"prompt": "a tree"} | values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("init_image", "image", "a.png"),
        ("init_img", "image", "a.png"),
        ("mask_image", "mask", "a.png"),
        ("denoising_strength", "strength", 0.5),
        ("denoise", "strength", 0.5),
    ],
)
def test_the_names_that_others_use_mean_the_same(alias: str, name: str, value: object) -> None:
    wanted = InputImage(path="a.png") if value == "a.png" else value
    given = {alias: value} if name == "image" else {alias: value, "image": "b.png"}
    assert getattr(parse({"prompt": "a", **given}), name) == wanted


@pytest.mark.parametrize("path", ["b/a.png", Path("b/a.png")])
def test_a_picture_is_given_by_its_path(path: str | Path) -> None:
    assert parse({"prompt": "a", "image": path}).image == InputImage(path="b/a.png")


def test_a_picture_in_memory_and_the_bytes_of_a_file_are_data() -> None:
    image = Image.new("RGB", (3, 2), (1, 2, 3))
    held = parse({"prompt": "a", "image": image}).image
    assert held is not None
    assert held.data is not None
    assert Image.open(io.BytesIO(held.data)).getpixel((2, 1)) == (1, 2, 3)
    assert parse({"prompt": "a", "image": held.data}).image == held


def test_a_record_holds_where_the_picture_is_and_its_hash_not_the_picture() -> None:
    request = parse({"prompt": "a", "image": InputImage(path="a.png", sha256="0f", data=b"pixels!"), "strength": 0.5})
    held = json.loads(request.model_dump_json())
    assert held["image"] == {"path": "a.png", "sha256": "0f"}
    assert parse(held) == request.model_copy(update={"image": InputImage(path="a.png", sha256="0f")})
    assert "pixels!" not in repr(request)


@pytest.mark.parametrize("value", [5, ["a.png"], {"file": "a.png"}, 0.5])
def test_what_is_no_picture_is_named(value: object) -> None:
    assert wrong(image=value).startswith("image must be a picture, or a path to one, not ")


def test_a_picture_that_cannot_be_a_png_says_so() -> None:
    assert "convert it to RGB first" in wrong(image=Image.new("CMYK", (2, 2)))


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan"), "much"])
def test_a_strength_out_of_range_says_the_range(strength: object) -> None:
    assert wrong(image="a.png", strength=strength) == f"strength must be a number from 0 to 1, not {strength!r}"


@pytest.mark.parametrize("option", [{"mask": "a.png"}, {"strength": 0.5}, {"exact_steps": True}])
def test_what_is_of_a_picture_needs_one(option: dict[str, object]) -> None:
    assert wrong(**option) == f"{next(iter(option))} needs an image to start from (--image)"
