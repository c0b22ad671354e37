"""Pictures that users give: every kind becomes plain colours the right way up, or one line says why not."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scorefield.files import inputs
from scorefield.files.picture import PictureError


def data(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def wrong(held: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        inputs.colours(held, "x.png")
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("x.png ")
    return line


def test_a_picture_comes_pixel_by_pixel() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(np.asarray(inputs.colours(data(Image.fromarray(pixels)), "x")), pixels)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_the_usual_formats_are_read(form: str) -> None:
    image = inputs.colours(data(Image.new("RGB", (16, 8), (200, 40, 90)), form), "x")
    assert (image.mode, image.size) == ("RGB", (16, 8))
    assert np.abs(np.asarray(image).astype(int) - (200, 40, 90)).max() <= 3


def test_a_photograph_on_its_side_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image = inputs.colours(data(Image.new("RGB", (16, 8)), "JPEG", exif=exif), "x")
    assert image.size == (8, 16)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_in_a_picture_and_black_in_a_mask(mode: str) -> None:
    if mode == "P":
        held = data(Image.new("P", (2, 2), 0), transparency=0)
    else:
        held = data(Image.new(mode, (2, 2), (90, 90, 90, 0) if mode == "RGBA" else (90, 0)))
    assert inputs.colours(held, "x").getpixel((0, 0)) == (255, 255, 255)
    assert inputs.greys(held, "x").getpixel((0, 0)) == 0


def test_sixteen_bits_of_grey_are_brought_to_eight() -> None:
    ramp = np.array([[0, 257, 25700, 65535]], np.uint16)
    for form in ("PNG", "TIFF"):
        held = data(Image.fromarray(ramp), form)
        assert np.asarray(inputs.colours(held, "x"))[0, :, 1].tolist() == [0, 1, 100, 255]
        assert np.asarray(inputs.greys(held, "x")).tolist() == [[0, 1, 100, 255]]


def test_the_colours_of_print_are_brought_to_those_of_a_screen() -> None:
    held = data(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red, green, blue = inputs.colours(held, "x").getpixel((4, 4))
    assert red > 200 > 60 > max(green, blue)


def test_what_moves_is_refused_and_a_cameras_second_view_is_not() -> None:
    frames = [Image.new("RGB", (8, 8), (k, 0, 0)) for k in (0, 100, 200)]
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        held = data(frames[0], form, save_all=True, append_images=frames[1:])
        assert wrong(held) == "x.png has 3 pictures; save the one that is meant alone"
    assert (
        inputs.colours(data(frames[2], "MPO", save_all=True, append_images=frames[:1]), "x").getpixel((0, 0))[0] > 190
    )


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_picture_that_is_cut_off_is_damaged(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    held = data(Image.fromarray(noise), form)
    assert wrong(held[: len(held) // 2]).startswith("x.png is ")


@pytest.mark.parametrize("held", [b"", b"not a picture", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_picture_says_what_is_read(held: bytes) -> None:
    assert "is no picture that can be read (PNG, JPEG" in wrong(held)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_000, 20_000, 100_000])
def test_a_small_file_that_swells_is_refused_before_it_does(side: int) -> None:
    held = bytearray(data(Image.new("1", (8, 8))))
    held[16:24] = side.to_bytes(4, "big") * 2
    held[29:33] = zlib.crc32(held[12:29]).to_bytes(4, "big")
    assert "pixels" in wrong(bytes(held))


def test_a_path_must_lead_to_a_file(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "no.png", "is not there"), (tmp_path, "is a folder, not a picture")):
        with pytest.raises(PictureError) as caught:
            inputs.read(path)
        assert str(caught.value) == f"the picture {path} {words}"


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with path.open("wb") as file:
        file.truncate(inputs.MOST_BYTES + 1)
    with pytest.raises(PictureError, match="268435457 bytes; 268435456 are the most"):
        inputs.read(path)
