"""What lies beside the pixels is applied: profiles, gamma, rotation, transparent values, more than eight bits."""

import io
import struct
import warnings
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from scorefield.files import inputs
from scorefield.files.open_picture import PictureError
from scorefield.files.to_srgb import matrix_profile
from scorefield.notes import PictureWarning, collecting

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SRGB_CORNERS = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3_CORNERS = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
PROPHOTO_CORNERS = (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def data(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def rgb(held: bytes) -> np.ndarray:
    return np.asarray(inputs.colours(held, "x.png"))


def grey(held: bytes) -> np.ndarray:
    return np.asarray(inputs.greys(held, "x.png"))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def chunk(kind: bytes, held: bytes) -> bytes:
    return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))


def png(size: tuple[int, int], depth: int, kind: int, rows: bytes, beside: bytes = b"") -> bytes:
    """A PNG by hand, for what Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + beside + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def by_hand(pixels: np.ndarray, gamma: float, corners: Sequence[float]) -> np.ndarray:
    """The sRGB values of RGB pixels of other primaries with sRGB's white, by the definition of the primaries."""

    def matrix(points: Sequence[float]) -> np.ndarray:
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in zip(points[::2], points[1::2], strict=True)]).T
        return columns[:, 1:] * np.linalg.solve(columns[:, 1:], columns[:, 0])

    light = (pixels / 255) ** (1 / gamma) @ (np.linalg.inv(matrix(SRGB_CORNERS)) @ matrix(corners)).T
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def of_lab(lightness: int, a: int, b: int) -> np.ndarray:
    """The sRGB values of L*a*b* under D50 in eight bits, by the definitions of CIE and Bradford's adaptation."""
    middle = (lightness / 2.55 + 16) / 116
    roots = np.array([middle + (a - 128) / 500, middle, middle - (b - 128) / 200])
    xyz = np.array([0.9642, 1, 0.8249]) * np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29))
    to_srgb = [[3.13386, -1.61687, -0.49061], [-0.97877, 1.91614, 0.03345], [0.07195, -0.22899, 1.40524]]
    light = np.clip(np.array(to_srgb) @ xyz, 0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_photograph_in_display_p3_is_read_as_it_is_shown(form: str) -> None:
    pixels = np.tile(np.array([[[200, 60, 60], [90, 160, 90], [128, 128, 128]]], np.uint8), (8, 1, 1)).repeat(8, 1)
    options = {"PNG": {}, "TIFF": {}, "JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}[form]
    held = data(Image.fromarray(pixels), form, icc_profile=matrix_profile(1 / 2.2, P3_CORNERS), **options)
    wanted = by_hand(pixels, 1 / 2.2, P3_CORNERS)
    assert np.abs(rgb(held)[:, 4::8] - wanted[:, 4::8]).max() <= 2.5
    assert np.abs(wanted[:, 4] - pixels[:, 4]).max() > 15, "the profile must matter"


def test_a_profile_does_what_little_cms_says() -> None:
    profile = matrix_profile(1 / 1.8, PROPHOTO_CORNERS)
    image = Image.fromarray(noise(16, 16, 3))
    told = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), SRGB)
    assert np.array_equal(rgb(data(image, icc_profile=profile)), np.asarray(told))
    assert not np.array_equal(np.asarray(told), np.asarray(image))


def test_a_profile_of_srgb_changes_no_pixel() -> None:
    for form in ("PNG", "TIFF"):
        pixels = noise(64, 64, 3)
        assert np.array_equal(rgb(data(Image.fromarray(pixels), form, icc_profile=SRGB.tobytes())), pixels)
        greys = noise(16, 16)
        assert np.array_equal(grey(data(Image.fromarray(greys), form, icc_profile=SRGB.tobytes())), greys)


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        (b"junk" * 40, "cannot open profile"),
        (SRGB.tobytes()[:300], "cannot"),
        (ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), "it is for Lab, but the pixels are RGB"),
    ],
)
def test_a_profile_that_cannot_be_used_is_ignored_with_a_note(profile: bytes, why: str) -> None:
    pixels = noise(8, 8, 3)
    with collecting() as notes:
        assert np.array_equal(rgb(data(Image.fromarray(pixels), icc_profile=profile)), pixels)
    assert [note.kind for note in notes] == [PictureWarning]
    assert "the colour profile of x.png cannot be used and is ignored" in notes[0].text
    assert why in notes[0].text
    assert "\n" not in notes[0].text


def test_greys_with_a_profile_of_colours_follow_its_curve() -> None:
    held = data(Image.new("L", (4, 4), 100), icc_profile=matrix_profile(1.0, SRGB_CORNERS))
    light = 100 / 255
    wanted = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(rgb(held) - wanted).max() <= 1.5
    assert np.abs(grey(held) - wanted).max() <= 1.5


def test_a_profile_leaves_the_opacity_alone() -> None:
    held = data(Image.new("RGBA", (2, 2), (200, 60, 60, 0)), icc_profile=matrix_profile(1 / 2.2, P3_CORNERS))
    assert tuple(rgb(held)[0, 0]) == WHITE
    half = data(Image.new("RGBA", (2, 2), (200, 60, 60, 128)), icc_profile=matrix_profile(1 / 2.2, P3_CORNERS))
    wanted = by_hand(np.array([200, 60, 60]), 1 / 2.2, P3_CORNERS) * 128 / 255 + 127
    assert np.abs(rgb(half)[0, 0] - wanted).max() <= 2.5


def test_the_gamma_and_primaries_of_a_png_are_a_profile() -> None:
    pixel, row = np.array([200, 60, 60]), b"\0\xc8\x3c\x3c"
    corners = chunk(b"cHRM", struct.pack(">8I", *(round(value * 1e5) for value in P3_CORNERS)))
    linear, usual = chunk(b"gAMA", struct.pack(">I", 100000)), chunk(b"gAMA", struct.pack(">I", 45455))
    for beside, gamma, points in (
        (linear, 1.0, SRGB_CORNERS),
        (usual + corners, 1 / 2.2, P3_CORNERS),
    ):
        shown = rgb(png((1, 1), 8, 2, row, beside))[0, 0]
        assert np.abs(shown - by_hand(pixel, gamma, points)).max() <= 2
    for beside in (usual, usual + chunk(b"sRGB", b"\0"), linear + chunk(b"sRGB", b"\0")):
        assert tuple(rgb(png((1, 1), 8, 2, row, beside))[0, 0]) == (200, 60, 60)


@pytest.mark.parametrize("held", [bytes(32), b"\xff" * 32, struct.pack(">8I", *[31270, 32900] * 4)])
def test_impossible_primaries_are_ignored_with_a_note(held: bytes) -> None:
    with collecting() as notes:
        assert tuple(rgb(png((1, 1), 8, 2, b"\0\x05\x50\xc8", chunk(b"cHRM", held)))[0, 0]) == (5, 80, 200)
    assert len(notes) == 1


@pytest.mark.parametrize("way", ["colour space", "interoperability"])
def test_adobe_rgb_that_only_exif_says_is_applied(way: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 2 if way == "colour space" else 0xFFFF
    if way == "interoperability":
        exif.get_ifd(0x8769)[0xA005] = exif.get_ifd(0xA005)
        exif.get_ifd(0xA005)[1] = "R03"
    image = Image.new("RGB", (8, 8), (90, 160, 90))
    held = data(image, "JPEG", quality=100, exif=exif)
    wanted = by_hand(np.array([90, 160, 90]), 256 / 563, (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06))
    assert np.abs(rgb(held)[0, 0] - wanted).max() <= 3.5
    assert np.abs(wanted - [90, 160, 90]).max() > 20


def test_a_damaged_exif_block_is_ignored_with_a_note() -> None:
    held = png((1, 1), 8, 2, b"\0\x05\x50\xc8", chunk(b"eXIf", b"II*\0\xff"))
    with collecting() as notes:
        assert tuple(rgb(held)[0, 0]) == (5, 80, 200)
    assert [note.text for note in notes] == ["the EXIF data of x.png is damaged and ignored"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_every_rotation_of_exif_is_applied_to_pixels_and_opacity(form: str, orientation: int) -> None:
    stored = noise(4, 6, 4)
    stored[..., 3] = np.where(stored[..., 3] > 127, 255, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[::-1],
    }[orientation]  # fmt: skip
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    shown = rgb(data(Image.fromarray(stored), form, exif=exif, **options))
    wanted = turn(np.where(stored[..., 3:] == 0, 255, stored[..., :3]))
    assert np.array_equal(shown, wanted)


def sixteen(*values: int) -> bytes:
    return b"\0" + struct.pack(f">{len(values)}H", *values)


@pytest.mark.parametrize(
    ("depth", "kind", "row", "transparent", "opaque"),
    [
        (16, 0, sixteen(1000, 1001), (1000,), 4),
        (4, 0, b"\0\x5a", (5,), 170),
        (2, 0, b"\0\x80", (2,), 0),
        (1, 0, b"\0\x40", (0,), 255),
        (8, 0, b"\0\x07\x08", (7,), 8),
        (8, 2, b"\0\1\2\3\1\2\4", (1, 2, 3), (1, 2, 4)),
        (16, 2, sixteen(300, 301, 302, 300, 301, 303), (300, 301, 302), (1, 1, 1)),
    ],
)
def test_one_transparent_value_is_transparent_at_every_depth(
    depth: int, kind: int, row: bytes, transparent: tuple[int, ...], opaque: object
) -> None:
    held = png((2, 1), depth, kind, row, chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    shown = rgb(held)[0]
    assert tuple(shown[0]) == WHITE
    assert np.array_equal(shown[1], np.broadcast_to(opaque, 3))
    assert grey(held)[0, 0] == 0


def test_a_palette_has_its_own_opacity() -> None:
    beside = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60, 70, 80, 90])) + chunk(b"tRNS", b"\x80\x00")
    shown = rgb(png((3, 1), 8, 3, b"\0\0\1\2", beside))[0]
    assert np.abs(shown[0] - (np.array([10, 20, 30]) * 128 / 255 + 127)).max() <= 1
    assert tuple(shown[1]) == WHITE
    assert tuple(shown[2]) == (70, 80, 90)


def test_floating_point_from_0_to_1_is_scaled_and_anything_else_refused() -> None:
    for form in ("TIFF", "PPM"):
        ramp = np.array([[0, 0.25, 0.5, 1]], np.float32)
        assert rgb(data(Image.fromarray(ramp), form))[0, :, 0].tolist() == [0, 64, 128, 255]
    for values in ([0, 2.0], [-0.5, 1], [0, np.nan], [np.inf, 0], [np.nan, np.nan]):
        with pytest.raises(PictureError, match=r"floating-point pixels .* save it with 8 or 16 bits") as caught:
            rgb(data(Image.fromarray(np.array([values], np.float32)), "TIFF"))
        assert str(caught.value).startswith("x.png ")


@pytest.mark.parametrize("kind", ["I", "signed 16"])
def test_signed_and_32_bit_pixels_are_refused_in_one_line(kind: str) -> None:
    held = bytearray(data(Image.new("I", (2, 2), 7), "TIFF"))
    if kind == "signed 16":
        held = bytearray(data(Image.new("I;16", (2, 2), 7), "TIFF", tiffinfo={339: 2}))
        assert Image.open(io.BytesIO(held)).mode == "I"
    with pytest.raises(PictureError, match="has signed or 32-bit pixels; save it with 8 or 16 bits per channel"):
        rgb(bytes(held))


def tiff(photometric: int, bits: int, pixels: bytes, order: str = "<") -> bytes:
    """A TIFF by hand of 2 x 1 pixels in one channel."""
    tags = [(256, 3, 2), (257, 3, 1), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 200), (277, 3, 1),
            (278, 3, 1), (279, 4, len(pixels))]  # fmt: skip
    form = {"<": b"II*\0", ">": b"MM\0*"}[order]
    body = struct.pack(order + "IH", 8, len(tags))
    for tag, kind, value in tags:
        body += struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(order + ("H2x" if kind == 3 else "I"), value)
    return (form + body + bytes(4)).ljust(200, b"\0") + pixels


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (tiff(1, 16, struct.pack("<2H", 0, 65535)), [0, 255]),
        (tiff(1, 16, struct.pack(">2H", 257, 25700), ">"), [1, 100]),
        (tiff(0, 16, struct.pack("<2H", 0, 65535)), [255, 0]),
        (tiff(1, 12, b"\xff\xf0\x00"), [255, 0]),
        (tiff(0, 8, b"\0\xff"), [255, 0]),
    ],
    ids=["16", "16 big-endian", "white is 0", "12", "8, white is 0"],
)
def test_the_greys_of_a_tiff_are_scaled_by_its_own_depth_and_direction(held: bytes, wanted: list[int]) -> None:
    assert grey(held)[0].tolist() == wanted


def test_sixteen_bits_are_rounded_as_before() -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(grey(data(Image.fromarray(ramp))), (ramp / 257 + 0.5).astype(np.uint8))


@pytest.mark.parametrize("most", [300, 1023, 4095, 65535])
def test_a_grey_map_is_scaled_by_its_own_greatest_value(most: int) -> None:
    held = b"P5\n3 1\n%d\n" % most + struct.pack(">3H", 0, most // 2, most)
    assert np.abs(grey(held)[0].astype(float) - [0, 127.5, 255]).max() <= 1


def test_lab_ycbcr_and_cmyk_become_the_colours_of_a_screen() -> None:
    for stored in ((160, 164, 185), (110, 115, 150), (200, 120, 90)):
        image = Image.new("LAB", (1, 1), stored)
        assert np.abs(rgb(data(image, "TIFF"))[0, 0] - of_lab(*stored)).max() <= 2
    assert grey(data(Image.new("LAB", (1, 1), (137, 128, 128)), "TIFF"))[0, 0] == pytest.approx(128, abs=1)
    for mode in ("YCbCr", "CMYK"):
        shown = rgb(data(Image.new("RGB", (2, 2), (220, 40, 90)).convert(mode), "TIFF"))[0, 0]
        assert np.abs(shown.astype(int) - (220, 40, 90)).max() <= 2


def test_opacity_that_is_multiplied_into_the_colours_is_taken_out() -> None:
    stored = Image.frombytes("RGBA", (1, 1), bytes((50, 25, 0, 128)))
    held = bytearray(data(stored, "TIFF"))
    tags = TiffImagePlugin.TiffImageFile(io.BytesIO(held)).tag_v2
    assert tags[338] == (2,)
    place = held.index(struct.pack("<HHIH", 338, 3, 1, 2))
    held[place + 8] = 1  # associated alpha
    assert np.abs(rgb(bytes(held))[0, 0].astype(int) - (177, 152, 127)).max() <= 2


def test_every_mode_is_read_without_a_word_of_a_library(recwarn: pytest.WarningsRecorder, capfd: object) -> None:
    warnings.simplefilter("always")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "F"):
        for form in ("PNG", "TIFF", "WEBP", "JPEG", "GIF", "BMP", "PPM"):
            try:
                held = data(Image.new(mode, (4, 4)), form)
            except (OSError, ValueError):
                continue
            assert inputs.colours(held, "x").mode == "RGB", (mode, form)
            assert inputs.greys(held, "x").mode == "L", (mode, form)
    assert not [one for one in recwarn if "PIL" in one.filename]
