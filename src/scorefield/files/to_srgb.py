"""Convert decoded pictures to eight bits of sRGB, applying the metadata that changes their look.

That is: colour profiles, PNG's gamma and primaries, EXIF's rotation and Adobe RGB, transparent values and palettes, and
the depth of pixels with more than eight bits.
"""

import io
import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageFile

from scorefield.files.open_picture import PictureError, open_picture
from scorefield.notes import PictureWarning, note

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

_ORIENTATION, _PHOTOMETRIC, _BITS = 0x0112, 262, 258  # tags of TIFF; the first is also one of EXIF
_EXIF, _COLOUR_SPACE, _INTEROP, _INTEROP_INDEX = 0x8769, 0xA001, 0xA005, 1
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, struct.error)

# x and y of white, red, green and blue (IEC 61966-2-1; Adobe RGB (1998), 4.3.1), and the exponents that encode light.
_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_ADOBE = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_SRGB_GAMMA, _ADOBE_GAMMA = 1 / 2.2, 256 / 563
_LIKE_SRGB = 0.01  # a PNG whose gamma and primaries differ by less is sRGB
_D50 = np.array([0.9642, 1.0, 0.8249])  # the white of ICC profiles
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


class Pixels(NamedTuple):
    """The colours of a picture, L or RGB, and its opacity, L; None if every pixel is opaque."""

    colours: Image.Image
    alpha: Image.Image | None


def to_srgb(image: ImageFile.ImageFile, data: bytes, name: str) -> Pixels:
    """Decode the opened picture `image`, whose file holds `data`, to eight bits of sRGB, upright.

    A profile or EXIF block that cannot be used is ignored with a note. PictureError for pixels that have no agreed
    range, such as floating point above 1; it calls the picture `name`.
    """
    rawmode = str(image.tile[0].args) if image.format == "PNG" and image.tile else ""
    low = _low_bytes(data, name) if rawmode == "RGB;16B" and "transparency" in image.info else None
    image.load()
    exif = _exif(image, name)
    pixels = _eight_bits(image, rawmode, low, name)
    colours, alpha = _managed(pixels.colours, image, exif, name), pixels.alpha
    method = _TURNED.get(exif.get(_ORIENTATION, 1)) if image.format != "TIFF" else None  # Pillow has turned a TIFF
    if method is None:
        return Pixels(colours, alpha)
    return Pixels(colours.transpose(method), alpha and alpha.transpose(method))


def _low_bytes(data: bytes, name: str) -> Array:
    # Pillow keeps the upper byte of each 16-bit channel, but the transparent colour has 48 bits. So the picture is
    # decoded twice: in the other byte order, each channel keeps its lower byte.
    with open_picture(data, name) as image:
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        return np.array(image)


def _eight_bits(image: ImageFile.ImageFile, rawmode: str, low: Array | None, name: str) -> Pixels:
    """The colours with eight bits per channel, in L, RGB, CMYK or LAB, and the opacity."""
    mode, transparent = image.mode, image.info.get("transparency")
    if mode == "F" or mode.startswith("I"):
        return _deep(image, transparent, name)
    if mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        whole = image.convert("RGBA" if mode in ("RGBa", "PA") else "LA" if mode == "La" else mode)
        return Pixels(whole.convert("L" if whole.mode == "LA" else "RGB"), whole.getchannel("A"))
    if mode == "P":
        if not image.has_transparency_data:
            return Pixels(image.convert("RGB"), None)
        whole = image.convert("RGBA")
        return Pixels(whole.convert("RGB"), whole.getchannel("A"))
    if mode in ("1", "L"):
        grey = image.convert("L")
        if not isinstance(transparent, int):
            return Pixels(grey, None)
        steps = {"L;2": 85, "L;4": 17}.get(rawmode, 1)  # Pillow scales the pixels to 255, but not this value
        return Pixels(grey, _opaque(np.asarray(grey) != transparent * steps))
    if mode == "RGB" and isinstance(transparent, tuple):
        return Pixels(_plain(image), _opaque(_differs(np.asarray(image), low, transparent)))
    if mode in ("RGB", "CMYK", "LAB"):
        return Pixels(_plain(image), None)
    return Pixels(image.convert("RGB"), None)  # YCbCr, RGBX, HSV


def _plain(image: Image.Image) -> Image.Image:
    copy = image.copy()
    copy.info = {}
    return copy


def _opaque(mask: Array) -> Image.Image:
    return Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))


def _differs(high: Array, low: Array | None, colour: Sequence[int]) -> Array:
    """Where pixels (H, W, 3) differ from `colour`, which has 16 bits per channel if `low` bytes are given, else 8."""
    if low is None:
        return np.asarray((high != np.array(colour)).any(-1))
    shifted = [value >> 8 for value in colour], [value & 255 for value in colour]
    return np.asarray(((high != np.array(shifted[0])) | (low != np.array(shifted[1]))).any(-1))


def _deep(image: ImageFile.ImageFile, transparent: object, name: str) -> Pixels:
    """The colours of one channel with more than eight bits."""
    if image.mode == "F":
        values, most = np.asarray(image, np.float32), 1.0
        least, greatest = float(values.min()), float(values.max())
        if not (math.isfinite(least) and math.isfinite(greatest)) or least < -1 / 255 or greatest > 256 / 255:
            raise PictureError(
                f"{name} has floating-point pixels from {least:g} to {greatest:g}, not 0 to 1; save it with 8 or 16 "
                "bits per channel"
            )
    elif image.mode == "I" and image.format != "PPM":
        raise PictureError(f"{name} has signed or 32-bit pixels; save it with 8 or 16 bits per channel, unsigned")
    else:
        values, most = np.asarray(image), 65535.0
    tags = getattr(image, "tag_v2", {})
    if tags.get(_BITS) == (12,):
        most = 4095.0
    alpha = _opaque(values != transparent) if isinstance(transparent, int) else None
    scaled = np.clip(values.astype(np.float32) * np.float32(255 / most) + np.float32(0.5), 0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # 0 is white; Pillow inverts only pixels of eight bits
        scaled = 255 - scaled
    return Pixels(Image.fromarray(scaled), alpha)


def _managed(colours: Image.Image, image: ImageFile.ImageFile, exif: Image.Exif, name: str) -> Image.Image:
    """The colours, in L, RGB, CMYK or LAB, converted to sRGB by the picture's profile if it fits."""
    if colours.mode == "LAB":
        return _converted(colours, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    try:
        data = _profile(image, exif)
        if data is None:
            return colours if colours.mode == "L" else colours.convert("RGB")
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = _space(profile)
        if space == "RGB" and colours.mode == "L":
            colours = colours.convert("RGB")
        if {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}.get(space) != colours.mode:
            raise ValueError(f"it is for {space}, but the pixels are {colours.mode}")
        return _converted(colours, profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        note(PictureWarning, f"the colour profile of {name} cannot be used and is ignored: {error}")
        return colours if colours.mode == "L" else colours.convert("RGB")


def _space(profile: ImageCms.ImageCmsProfile) -> str:
    try:
        return profile.profile.xcolor_space.strip()
    except UnicodeDecodeError:
        raise ValueError("its header is damaged") from None


def _converted(colours: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(profile, srgb, colours.mode, "RGB")
    if colours.mode in ("L", "RGB"):
        probe = _probe(colours.mode)
        shown, kept = (np.asarray(one, np.int16) for one in (_applied(transform, probe), probe.convert("RGB")))
        if abs(shown - kept).max() <= 1:  # it is sRGB; converting would only add rounding
            return colours
    return _applied(transform, colours)


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    shown = ImageCms.applyTransform(image, transform)
    assert shown is not None  # None only if the picture is changed in place
    return _plain(shown)


def _probe(mode: str) -> Image.Image:
    """A small picture that samples all colours, or all greys."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3))


def _profile(image: ImageFile.ImageFile, exif: Image.Exif) -> bytes | None:
    """The ICC profile of a picture: embedded, or made from PNG's chunks or EXIF's Adobe RGB; None means sRGB."""
    info = image.info
    if data := info.get("icc_profile"):
        return bytes(data)
    if image.format == "PNG" and "srgb" not in info and ("gamma" in info or "chromaticity" in info):
        gamma, corners = float(info.get("gamma", _SRGB_GAMMA)), info.get("chromaticity", _SRGB)
        near = [abs(a - b) < _LIKE_SRGB for a, b in zip((gamma, *corners), (_SRGB_GAMMA, *_SRGB), strict=True)]
        return None if all(near) else matrix_profile(gamma, corners)
    inner = exif.get_ifd(_EXIF)
    index = exif.get_ifd(_INTEROP).get(_INTEROP_INDEX) if inner.get(_COLOUR_SPACE) == 0xFFFF else ""
    adobe = inner.get(_COLOUR_SPACE) == 2 or index == "R03"
    return matrix_profile(_ADOBE_GAMMA, _ADOBE) if adobe else None


def matrix_profile(gamma: float, corners: Sequence[float]) -> bytes:
    """An ICC profile (version 2.4) from an encoding exponent and the x and y of white, red, green and blue.

    ValueError if no display has such colours.
    """
    xyz = [np.array([x, y, 1 - x - y]) / y if y > 0 else None for x, y in zip(corners[::2], corners[1::2], strict=True)]
    if not 0.01 < gamma < 100 or any(one is None or not np.isfinite(one).all() for one in xyz):
        raise ValueError("its gamma or primaries are impossible")
    white, *primaries = (np.asarray(one) for one in xyz)
    matrix = np.stack(primaries, 1)
    if abs(np.linalg.det(matrix)) < 1e-6:
        raise ValueError("its primaries lie on one line")
    adapt = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    columns = (adapt @ matrix * np.linalg.solve(matrix, white)).T
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, min(65535, round(256 / gamma)))
    tags = {b"wtpt": _xyz(_D50)} | dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, columns), strict=True))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    place, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += struct.pack(">4sII", tag, place + len(body), len(data))
        body += data
    header = struct.pack(">I4x4s4s4s4s12x4s", place + len(body), b"\x02\x40\0\0", b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return header.ljust(68, b"\0") + _xyz(_D50)[8:] + bytes(48) + table + body


def _xyz(values: Sequence[float] | Array) -> bytes:
    try:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))
    except struct.error:
        raise ValueError("its primaries are impossible") from None


def _exif(image: ImageFile.ImageFile, name: str) -> Image.Exif:
    """The EXIF block; an empty one, with a note, if it is damaged."""
    try:
        exif = image.getexif()
        exif.get_ifd(_EXIF), exif.get_ifd(_INTEROP)
        return exif
    except _EXIF_DAMAGE:
        note(PictureWarning, f"the EXIF data of {name} is damaged and ignored")
        return Image.Exif()
