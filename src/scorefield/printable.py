"""Text from files, safe to print: nothing in it can control a terminal, reorder a line or hide."""

import json
import math
import re
from collections.abc import Mapping

# Control characters but tab and newline, surrogates, line separators, bidirectional marks, and every character that is
# never drawn. Emoji need U+FE0E and U+FE0F, which stay.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def printable(text: str) -> str:
    r"""`text` with every unsafe character escaped, as \x1b, \u202e or \U000e0041; tabs and newlines stay."""
    return _UNSAFE.sub(lambda found: _escape(ord(found[0])), text)


def one_line(text: str) -> str:
    """`text` as one printable line: every run of white space is a space."""
    return printable(" ".join(text.split()))


def json_text(value: object, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """`value` as JSON that every parser accepts and every terminal shows.

    NaN and infinities become null, and unsafe characters JSON's own escapes.
    """
    text = json.dumps(_finite(value), indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    return _UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1] if found[0] != "\x7f" else "\\u007f", text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_finite_key(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _finite_key(key: object) -> object:
    return str(key) if isinstance(key, float) and not math.isfinite(key) else key
