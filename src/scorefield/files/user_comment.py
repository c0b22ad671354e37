"""Decode EXIF's UserComment by its bytes: the label before them is often wrong."""

import codecs
import unicodedata

_UNICODE, _JIS = b"UNICODE\0", b"JIS\0\0\0\0\0"
_LABELS = (_UNICODE, _JIS, b"ASCII\0\0\0", bytes(8))
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_JAPANESE = ("iso2022_jp", "cp932", "euc_jp")
_SAMPLE = 10_000  # characters to guess an encoding from
_ODD = {"Cc", "Cn", "Co", "Cs"}  # control characters, and code points without a character


def decode(raw: bytes) -> str:
    """The text of a UserComment: UTF-16 of either byte order, UTF-8, Windows-1252 or a Japanese encoding.

    The label, which may be missing, decides only if the bytes are ambiguous. Invalid bytes become U+FFFD.
    """
    label, body = (raw[:8], raw[8:]) if raw[:8] in _LABELS else (b"", raw)
    for mark, encoding in _BOMS.items():
        if body.startswith(mark):
            rest = body[len(mark) :]
            return _clean((rest if encoding == "utf-8" else _even(rest)).decode(encoding, "replace"))
    eight = body.rstrip(b"\0")
    wide = _utf16(body)
    if b"\0" in eight:
        return _clean(wide)
    utf8 = None if b"\x1b" in eight else _try(eight, "utf-8")
    if label == _UNICODE:
        return _clean(wide if utf8 is None or _oddness(utf8) else utf8)
    text = (
        utf8 or (_japanese(eight) if label == _JIS or b"\x1b" in eight else None) or eight.decode("cp1252", "replace")
    )
    return _clean(wide if _oddness(wide) < _oddness(text) else text)


def _utf16(body: bytes) -> str:
    """The more plausible of the two byte orders of UTF-16; big-endian, which most programs write, in a tie."""
    return min((_even(body).decode(encoding, "replace") for encoding in ("utf-16-be", "utf-16-le")), key=_cost)


def _even(body: bytes) -> bytes:
    return body[:-1] if len(body) % 2 and body.endswith(b"\0") else body


def _cost(text: str) -> tuple[int, ...]:
    # Real text uses one or two scripts and a few blocks of 256 characters; with swapped bytes it is spread widely.
    shown = set(text[:_SAMPLE].rstrip("\0"))
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in shown if letter.isalpha()}
    plain = sum(letter < "\x80" for letter in shown)
    return _oddness(text), len(scripts), len({ord(letter) >> 8 for letter in shown}), -plain


def _oddness(text: str) -> int:
    """The number of characters, among the first, that no text has."""
    return sum(
        letter == "\ufffd" or (letter not in "\t\n\r" and unicodedata.category(letter) in _ODD)
        for letter in text[:_SAMPLE].rstrip("\0")
    )


def _japanese(body: bytes) -> str | None:
    """The text in the most plausible Japanese encoding; None if none decodes it."""
    texts = [text for encoding in _JAPANESE if (text := _try(body, encoding)) is not None]
    # Two bytes of EUC-JP look like two half-width letters of Shift-JIS.
    return min(
        texts, key=lambda text: _oddness(text) + sum("\uff61" <= letter <= "\uff9f" for letter in text), default=None
    )


def _try(body: bytes, encoding: str) -> str | None:
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        return None


def _clean(text: str) -> str:
    return text.strip("\0\ufeff")
