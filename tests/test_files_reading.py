"""Pictures that users give: every kind becomes plain colours the right way up, or one line says why not."""

import io
import os
import socket
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scorefield.data.folder import pictures
from scorefield.errors import MissingError
from scorefield.files import inputs, open_picture, picture
from scorefield.files.open_picture import NoPictureError, PictureError
from scorefield.files.to_srgb import matrix_profile


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
        assert wrong(held) == "x.png has 3 pictures; save the one you want as its own file"
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
    assert "is not a picture in a known format (PNG, JPEG" in wrong(held)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_000, 20_000, 100_000])
def test_a_small_file_that_swells_is_refused_before_it_does(side: int) -> None:
    held = bytearray(data(Image.new("1", (8, 8))))
    held[16:24] = side.to_bytes(4, "big") * 2
    held[29:33] = zlib.crc32(held[12:29]).to_bytes(4, "big")
    assert "pixels" in wrong(bytes(held))


def test_a_path_must_lead_to_a_file(tmp_path: Path) -> None:
    missing = tmp_path / "no.png"
    with pytest.raises(MissingError) as caught:
        inputs.read(missing)
    assert str(caught.value) == f"the picture {missing} does not exist"
    with pytest.raises(PictureError) as refused:
        inputs.read(tmp_path)
    assert str(refused.value) == f"the picture {tmp_path} is a folder, not a picture file"


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with path.open("wb") as file:
        file.truncate(open_picture.MOST_BYTES + 1)
    with pytest.raises(PictureError, match="268435457 bytes; a picture may have at most 268435456"):
        inputs.read(path)


def test_no_format_but_those_named_is_opened_whatever_the_file_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.init()
    opened: list[str] = []

    def starts(*words: object, **options: object) -> None:
        opened.append(f"a process: {words}")
        raise AssertionError(words)

    monkeypatch.setattr("subprocess.Popen", starts)
    monkeypatch.setattr("os.system", starts)
    for form, (_, accept) in list(Image.OPEN.items()):
        if form not in open_picture.FORMATS:
            monkeypatch.setitem(Image.OPEN, form, (lambda *_, form=form: opened.append(form), accept))
    strange = {
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "EPS in DOS": b"\xc5\xd0\xd3\xc6" + bytes(30),
        "PCX": b"\x0a\x05\x01\x08" + bytes(200),
        "ICO": b"\0\0\1\0\1\0" + bytes(40),
        "PSD": b"8BPS\0\1" + bytes(40),
        "FITS": b"SIMPLE  =                    T" + bytes(3000),
        "SGI": b"\x01\xda\0\1" + bytes(600),
        "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(60),
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
        "XPM": b'/* XPM */ static char *x[] = {"1 1 1 1", "a c #fff", "a"};',
        "RIFF, not WebP": b"RIFF\x24\0\0\0WAVEfmt " + bytes(30),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "PPM of Pillow's tests": b"PyRGBA\n1 1\n255\n\0\0\0\0",
    }
    for held in strange.values():
        path = tmp_path / "x.png"
        path.write_bytes(held)
        assert wrong(held).endswith("is not a picture in a known format (PNG, JPEG, WEBP, GIF, BMP, TIFF, PPM)")
        for read in (picture.read, picture.read_history):
            with pytest.raises(NoPictureError):
                read(path)
        with pytest.raises(NoPictureError, match="is not a picture in a known format"):
            pictures(tmp_path, 8, 8)
    assert opened == []


@pytest.mark.parametrize(
    ("kind", "words"), [("fifo", "a pipe"), ("socket", "a socket"), ("device", "a device"), ("folder", "a folder")]
)
def test_what_is_no_regular_file_is_never_opened(tmp_path: Path, kind: str, words: str) -> None:
    with socket.socket(socket.AF_UNIX) as held:
        path = tmp_path / "x.png"
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            held.bind(os.path.relpath(path))  # the address has few bytes
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
        for read in (inputs.read, picture.read, picture.read_history):
            with pytest.raises(PictureError) as caught:
                read(path)
            assert str(caught.value) == f"the picture {path} is {words}, not a picture file"
        with pytest.raises(PictureError, match=f"is {words}, not a picture file"):
            pictures(tmp_path, 8, 8)


def test_a_fifo_that_takes_the_place_of_a_file_meanwhile_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opens = tmp_path / "x.png", os.open
    path.write_bytes(data(Image.new("L", (2, 2))))

    def swapped(target: Path, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return opens(target, flags)

    monkeypatch.setattr(open_picture.os, "open", swapped)
    with pytest.raises(PictureError, match="is a pipe"):
        inputs.read(path)


def test_a_path_that_no_file_can_have_is_one_line() -> None:
    with pytest.raises(MissingError, match="does not exist"):
        inputs.read(Path("a\0b.png"))
    with pytest.raises(OSError, match="too long"):
        inputs.read(Path("a" * 5000))


def test_a_file_of_millions_of_parts_is_refused_and_not_read_for_minutes() -> None:
    cases = [
        b"\xff\xd8" + b"\xff" * 3_000_000,
        b"GIF89a\x08\0\x08\0\xf0\0\0" + bytes(6) + b"!\xfe\x04abcd\0" * 1_000_000,
    ]
    start = time.process_time()
    for held in cases:
        assert wrong(held) == "x.png has more than 1048576 parts, too many to read"
    assert time.process_time() - start < 15


def test_the_pages_of_a_tiff_are_counted_in_linear_time() -> None:
    page, parts = struct.Struct("<H HHII HHII HHII HHII I"), []
    for k in range(100_000):
        after = 8 + page.size * (k + 1) if k < 99_999 else 0
        parts.append(page.pack(4, 256, 4, 1, 8, 257, 4, 1, 8, 273, 4, 1, 8, 279, 4, 1, 8, after))
    start = time.process_time()
    assert "has at least 1000 pictures" in wrong(b"II*\0\x08\0\0\0" + b"".join(parts))
    assert time.process_time() - start < 5


_DAMAGED = """
import io, random, sys, threading
import numpy as np
from PIL import Image
from scorefield.files import picture, inputs
from scorefield.files.open_picture import PictureError

pixels = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
cases = []
for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4", "packbits", "zstd", "lzma"):
    image = Image.fromarray(pixels).convert("1" if compression == "group4" else "RGB")
    stream = io.BytesIO()
    image.save(stream, "TIFF", compression=compression)
    for seed in range(25):
        draw, held = random.Random(seed), bytearray(stream.getvalue())
        for _ in range(25):
            held[draw.randrange(8, len(held))] = draw.randrange(256)
        cases.append(bytes(held))
        cases.append(bytes(held[: draw.randrange(len(held))]))

def read():
    for held in cases:
        try:
            inputs.colours(held, "x")
        except PictureError:
            refused.append(1)

refused = []
threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(refused) > len(cases))
"""


def test_libraries_say_nothing_of_a_damaged_picture_and_are_free_to_speak_afterwards() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", _DAMAGED], capture_output=True, text=True, timeout=120, check=True
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
    loud = _DAMAGED + "\nImage.open(io.BytesIO(cases[0])).load()\n"  # outside of the reader
    done = subprocess.run([sys.executable, "-c", loud], capture_output=True, text=True, timeout=120)
    assert "TIFF" in done.stderr or "LZW" in done.stderr or "code not yet in table" in done.stderr


def test_silence_leaves_the_warnings_of_others_alone() -> None:
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_picture.reading("x"), open_picture.reading("y"):
            warnings.warn("ours", UserWarning, stacklevel=1)
            warnings.warn_explicit("theirs", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
        warnings.warn_explicit("later", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
    assert [str(one.message) for one in caught] == ["ours", "later"]
    assert list(warnings.filters) == before


def test_training_pictures_are_read_as_the_image_of_a_request_is(tmp_path: Path) -> None:
    ramp = np.array([[0, 25700], [257, 65535]], np.uint16).repeat(4, 0).repeat(4, 1)
    exif = Image.Exif()
    exif[0x0112] = 8
    marked = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8))
    pixels = {
        "a.png": data(Image.fromarray(ramp)),
        "b.tif": data(Image.fromarray(ramp), "TIFF"),
        "c.gif": data(Image.new("P", (8, 8), 0), "GIF", transparency=0),
        "d.pgm": b"P5\n8 8\n65535\n" + ramp.astype(">u2").tobytes(),
        "e.png": data(
            marked, exif=exif, icc_profile=matrix_profile(1.0, (0.3127, 0.329, 0.7, 0.3, 0.2, 0.7, 0.1, 0.1))
        ),
        "f.WEBP": data(Image.new("RGBA", (8, 8), (9, 9, 9, 0)), "WEBP", lossless=True),
        "notes.txt": b"not a picture",
    }
    for name, held in pixels.items():
        (tmp_path / name).write_bytes(held)
    found = pictures(tmp_path, 8, 8)
    wanted = [np.asarray(inputs.colours(held, "x")) for name, held in pixels.items() if name != "notes.txt"]
    assert np.array_equal(found, np.stack(wanted))
    assert found[0, 0, 4, 0] == 100
    assert not np.array_equal(found[4], np.asarray(marked))


@pytest.mark.parametrize("held", ["bomb", "animation", "eps"])
def test_training_refuses_what_the_image_of_a_request_refuses(tmp_path: Path, held: str) -> None:
    frames = [Image.new("RGB", (8, 8), (k, 0, 0)) for k in (0, 200)]
    files = {
        "bomb": b"P6\n100000 100000\n255\n" + bytes(100),
        "animation": data(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
    (tmp_path / "x.png").write_bytes(files[held])
    with pytest.raises(PictureError) as caught:
        pictures(tmp_path, 8, 8)
    with pytest.raises(PictureError) as same:
        inputs.colours(files[held], str(tmp_path / "x.png"))
    assert str(caught.value) == str(same.value)
