"""What a file says can be printed: no control of the terminal, no hidden or reordered text, and JSON that is JSON."""

import json
import math
import sys
import unicodedata

import pytest

from scorefield.printable import json_text, printable

# Format characters that are drawn: number signs and the like that enclose what follows.
DRAWN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
FORMATS = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_every_control_and_format_character_of_unicode_is_escaped_and_nothing_that_is_drawn() -> None:
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        hidden = unicodedata.category(letter) in FORMATS and code not in DRAWN and letter not in "\t\n"
        if hidden:
            assert printable(letter).isascii(), hex(code)
        elif unicodedata.category(letter)[0] in "LNPS":
            name = unicodedata.name(letter, "")
            assert printable(letter) == letter or "FILLER" in name, hex(code)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 熊 🐻 ❤\ufe0f\n\ttab", "plain äöü 熊 🐻 ❤\ufe0f\n\ttab"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x08c\x7f", "a\\x0db\\x08c\\x7f"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("zero\u200bwidth\u2066\ufeff", "zero\\u200bwidth\\u2066\\ufeff"),
        ("tag\U000e0041 selector\U000e0101", "tag\\U000e0041 selector\\U000e0101"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_json_never_holds_what_only_python_reads() -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    value = {"a": [math.nan, (math.inf, 1.5)], "b": {"c": -math.inf}, math.nan: True, "n": 2**70}
    text = json_text(value)
    assert json.loads(text, parse_constant=refuse) == {
        "a": [None, [None, 1.5]],
        "b": {"c": None},
        "nan": True,
        "n": 2**70,
    }


@pytest.mark.parametrize("ascii_only", [False, True])
def test_json_keeps_every_letter_and_shows_none_that_a_terminal_obeys(ascii_only: bool) -> None:
    value = {"k\u202e": "\x1b[2J\x7f\x9b\u2066\ud800\U000e0041 ä熊🐻"}
    text = json_text(value, indent=2, ascii_only=ascii_only)
    assert json.loads(text) == value
    assert printable(text) == text
    assert ("ä熊🐻" in text) is not ascii_only
