"""EXIF's UserComment is believed by what it holds, not by its label."""

import io
import itertools
from pathlib import Path

import pytest
from PIL import Image

from scorefield.files import picture, user_comment

LABELS = {"UNICODE": b"UNICODE\0", "ASCII": b"ASCII\0\0\0", "JIS": b"JIS\0\0\0\0\0", "undefined": bytes(8), "none": b""}
PAIRS = "\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 8x8"
TEXTS = ["a tree", "ein Bär", "a 熊 and a 🐻", "дерево", "木", "شجرة", "나무", "x" * 30_000]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("coding", ["utf-16-be", "utf-16-le", "utf-8", "utf-16", "utf-8-sig"])
def test_every_coding_of_unicode_is_read_under_every_label(label: str, coding: str) -> None:
    for text, padding in itertools.product(TEXTS, (b"", b"\0", b"\0\0\0\0")):
        whole = text + PAIRS
        assert user_comment.decode(LABELS[label] + whole.encode(coding) + padding) == whole


def test_a_mark_of_big_endian_order_is_no_letter() -> None:
    assert user_comment.decode(b"UNICODE\0\xfe\xff" + "熊".encode("utf-16-be")) == "熊"


@pytest.mark.parametrize("coding", ["utf-16-be", "utf-16-le"])
def test_a_text_without_one_ascii_letter_tells_its_byte_order_by_its_blocks(coding: str) -> None:
    for text in ("日本語のテキスト", "деревовпустыне", "شجرةفيالصحراء", "나무와사막과바다"):
        assert user_comment.decode(b"UNICODE\0" + text.encode(coding)) == text


@pytest.mark.parametrize("coding", ["iso2022_jp", "cp932", "euc_jp", "utf-8"])
def test_japanese_codings_are_read_under_their_label(coding: str) -> None:
    assert user_comment.decode(LABELS["JIS"] + ("砂漠の木" + PAIRS).encode(coding)) == "砂漠の木" + PAIRS


def test_letters_of_one_byte_that_are_no_utf8_are_western() -> None:
    assert user_comment.decode(LABELS["ASCII"] + "ein Bär – groß".encode("cp1252")) == "ein Bär – groß"


@pytest.mark.parametrize("label", LABELS)
def test_any_bytes_give_a_text(label: str) -> None:
    for body in (
        b"",
        b"\0",
        b"\xff",
        b"\xff\xfe",
        b"\xfe\xff\xd8",
        b"\xef\xbb\xbf\xff",
        bytes(range(256)),
        b"\x1b$B\xff",
    ):
        assert isinstance(user_comment.decode(LABELS[label] + body), str)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG", "TIFF"])
def test_every_format_says_what_its_comment_says(form: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0131] = "a camera"  # some writers leave out a block that has only inner ones
    exif[0x8769] = exif.get_ifd(0x8769)
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + ("ein Bär" + PAIRS).encode("utf-16-le")
    Image.new("RGB", (8, 8)).save(tmp_path / "x", form, exif=exif)
    for found in (picture.read_history(tmp_path / "x"), picture.read(tmp_path / "x")[1]):
        assert found.a1111 is not None
        assert (found.a1111.prompt, found.a1111.pairs["Seed"]) == ("ein Bär", "5")


def test_a_gif_says_it_in_its_comment(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("P", (8, 8)).save(stream, "GIF", comment=("a tree" + PAIRS).encode())
    (tmp_path / "x.gif").write_bytes(stream.getvalue())
    found = picture.read_history(tmp_path / "x.gif").a1111
    assert found is not None
    assert found.pairs["Sampler"] == "Euler"
