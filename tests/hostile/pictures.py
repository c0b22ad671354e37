"""Hostile pictures: damaged ones of every format, bombs, sizes that lie, and what may lie beside their pixels."""

import io
import json
import random
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from tests.hostile.odd import ESCAPE, put, things

from scorefield.files.to_srgb import matrix_profile

SEED = 20240611
PNG = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    second = [image.transpose(Image.Transpose.ROTATE_180)] if "save_all" in options else []
    image.copy().save(stream, form, append_images=second, **options)  # Pillow leaves settings of a format in a picture
    return stream.getvalue()


@cache
def seeds() -> dict[str, bytes]:
    """Whole pictures of every format, with all that may lie beside their pixels."""
    pixels = np.random.default_rng(SEED).integers(0, 256, (24, 24, 4), dtype=np.uint8)
    rgb, rgba = Image.fromarray(pixels[..., :3].copy()), Image.fromarray(pixels)
    grey, palette = rgb.convert("L"), rgb.quantize(16)
    exif = Image.Exif()
    exif[0x0112], exif[0x0131] = 6, ESCAPE
    exif[0x8769] = exif.get_ifd(0x8769)
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + f"{ESCAPE}\nSteps: 2, Sampler: x, Seed: 1".encode("utf-16-le")
    icc = matrix_profile(1 / 1.8, (0.3127, 0.329, 0.7, 0.3, 0.2, 0.7, 0.1, 0.1))
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", f"a {ESCAPE}\nSteps: 20, Sampler: {ESCAPE}, Seed: 5, {ESCAPE}: 1")
    info.add_text("prompt", json.dumps({ESCAPE: [1, {"a": ESCAPE}]}), zip=True)
    info.add_itxt("scorefield", json.dumps({"request": {"prompts": [ESCAPE], "steps": 3}, "index": 0}))
    return {
        "png": encoded(rgba, "PNG", pnginfo=info, exif=exif, icc_profile=icc),
        "png palette": encoded(palette, "PNG", transparency=b"\0\x80\xff"),
        "png 16": encoded(Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), "PNG"),
        "apng": encoded(rgb, "PNG", save_all=True),
        "jpeg": encoded(rgb, "JPEG", exif=exif, icc_profile=icc, comment=ESCAPE.encode()),
        "jpeg progressive": encoded(grey, "JPEG", progressive=True),
        "jpeg cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "mpo": encoded(rgb, "MPO", save_all=True),
        "webp": encoded(rgb, "WEBP", exif=exif, icc_profile=icc),
        "webp lossless": encoded(rgba, "WEBP", lossless=True),
        "gif": encoded(palette, "GIF", comment=ESCAPE.encode()),
        "gif of two": encoded(rgb, "GIF", save_all=True),
        "bmp": encoded(rgb, "BMP"),
        "bmp palette": encoded(palette, "BMP"),
        "tiff": encoded(rgb, "TIFF", exif=exif, icc_profile=icc),
        "tiff lzw": encoded(rgba, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": encoded(rgb, "TIFF", compression="jpeg"),
        "tiff group 4": encoded(grey.convert("1"), "TIFF", compression="group4"),
        "tiff float": encoded(grey.convert("F"), "TIFF"),
        "tiff lab": encoded(Image.new("LAB", (24, 24)), "TIFF"),
        "tiff of two": encoded(rgb, "TIFF", save_all=True),
        "ppm": encoded(rgb, "PPM"),
        "pgm of 16 bits": b"P5\n24 24\n4095\n" + pixels[..., :2].tobytes(),
        "pfm": encoded(grey.convert("F"), "PPM"),
        "plain ppm": b"P3\n4 4\n255\n" + b"17 " * 48,
    }


def changed(held: bytes, draw: random.Random) -> bytes:
    """`held` with one kind of damage."""
    out = bytearray(held)
    kind = draw.randrange(6)
    if kind == 0:
        return bytes(out[: draw.randrange(len(out))])
    if kind == 1:  # near the start, where formats keep what matters
        for _ in range(draw.randrange(1, 6)):
            out[draw.randrange(min(200, len(out)))] = draw.choice([0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)])
    elif kind == 2:
        for _ in range(draw.randrange(1, 40)):
            out[draw.randrange(len(out))] = draw.randrange(256)
    elif kind == 3:
        place = draw.randrange(len(out))
        out[place : place + 4] = draw.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\0\1\0\0"])
    elif kind == 4:
        start, size = draw.randrange(len(out)), draw.randrange(1, 200)
        out[start:start] = out[start : start + size] * draw.randrange(1, 4)
    else:
        start = draw.randrange(len(out))
        del out[start : start + draw.randrange(1, 200)]
    return mended(bytes(out)) if draw.random() < 0.7 else bytes(out)


def mended(held: bytes) -> bytes:
    """A damaged PNG with checksums that are right again, so that what lies behind them is reached."""
    if held[:8] != b"\x89PNG\r\n\x1a\n":
        return held
    out, place = bytearray(held[:8]), 8
    while place + 12 <= len(held):
        size = min(struct.unpack_from(">I", held, place)[0], len(held) - place - 12)
        body = held[place + 4 : place + 8 + size]
        out += struct.pack(">I", size) + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + size
    return bytes(out)


def big_bilevel(side: int, *beside: bytes) -> bytes:
    """A PNG of side x side pixels, all black, of some 100 kB."""
    squeeze = zlib.compressobj(9)
    rows = b"".join(squeeze.compress(bytes(1 + side // 8)) for _ in range(side)) + squeeze.flush()

    def chunk(kind: bytes, held: bytes) -> bytes:
        return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    text = b"".join(chunk(b"tEXt", one) for one in beside)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + text + chunk(b"IEND", b"")


def chunk(kind: bytes, held: bytes) -> bytes:
    """One chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))


def big(width: int, height: int, bits: int, colour: int, *beside: bytes) -> bytes:
    """A PNG that says a size, with a few rows of pixels or rows that never end."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width % 2**32, height % 2**32, bits, colour, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(3_000_000), 9))
    return PNG + header + b"".join(beside) + rows + chunk(b"IEND", b"")


def _bomb(rng: random.Random) -> bytes:
    """A picture that would take much memory or time if it were believed."""
    text = zlib.compress(rng.choice((b"\0", b"a", b"Steps: ", b'{"a":', b"[")) * 20_000_000, 9)
    beside = rng.choice((
        b"", chunk(b"zTXt", b"parameters\0\0" + text), chunk(b"zTXt", b"scorefield\0\0" + text),
        chunk(b"iTXt", b"scorefield\0\1\0\0\0" + text),
        chunk(b"iCCP", b"x\0\0" + text), chunk(b"tEXt", b"parameters\0" + b"Steps: 1, " * 100_000),
        chunk(b"eXIf", b"MM\0*" + b"\xff" * 999),
        chunk(b"gAMA", bytes(4)), chunk(b"cHRM", bytes(32)), chunk(b"tRNS", bytes(999)), chunk(b"PLTE", bytes(3)),
        chunk(b"acTL", b"\xff" * 8),
        chunk(b"tEXt", b"a\0b") * 100_000,
    ))  # fmt: skip
    sides = (0, 1, 24, 1000, 30_000, 65_535, 2**31 - 1, 2**32 - 1)
    png = big(
        rng.choice(sides), rng.choice(sides), rng.choice((1, 2, 4, 8, 16, 3)), rng.choice((0, 2, 3, 4, 6, 5)), beside
    )
    return rng.choice((
        png, png, png, big_bilevel(rng.choice((9_000, 30_000))), b"P6\n99999 99999\n255\n", b"P5\n8000 8000\n255\n",
        b"P2\n9999999 1\n9\n" + b"1 " * 99,
        b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\2\2\4\1\0;",
        b"BM" + b"\xff" * 12 + b"\x28\0\0\0" + b"\x7f" * 36,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(sprung) (w) file\n",
        b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 40,
        b"MM\0*\0\0\0\x08\xff\xff" + b"\1\0\0\4\xff\xff\xff\xff\0\0\0\x08" * 200,
        b"II*\0\x08\0\0\0\1\0\0\1\4\0\1\0\0\0\xff\xff\xff\x7f\x08\0\0\0",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", b"\x89PNG", PNG, b"",
        b"\xff\xd8\xff",
    ))  # fmt: skip


def make(rng: random.Random, here: Path) -> list[str]:
    """A picture to start from, to mask with, to read a record of."""
    things(here)
    held = _bomb(rng) if rng.random() < 0.25 else changed(rng.choice(list(seeds().values())), rng)
    name = rng.choice(("x.png", "x.png", "x.jpg", "x.tif", "x", f"{ESCAPE.replace('/', '')}.png"))
    put(here / name, held)
    start = ["generate", "a tree", "--steps", "1", "-o", "out.png", "--strength", "1"]
    return rng.choice((
        [*start, "--image", name], [*start, "--image", name, "--fit", "stretch"],
        [*start, "--image", "start.png", "--mask", name], [*start, "--image", name, "--mask", name],
        ["inspect", name], ["inspect", name, "--format", "json"], ["replay", name],
        ["replay", "started.png", "--image", name], [*start, "-m", "model", "--size", "64", "--image", name],
        [*start, "--image-prompt", name], [*start, "--image", name, "--dry-run"],
    ))  # fmt: skip
