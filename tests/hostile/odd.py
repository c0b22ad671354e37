"""Odd values: numbers, texts, JSON and bytes that a file or a command line may hold."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

ESCAPE = "\x1b]0;owned\x07\x1b[31m\u202e\x9b2J"
NUMBERS = (
    "0", "-1", "1", "2", "3", "1.5", "-0.0", "1e3", "1e-320", "1e400", "-1e400", "nan", "NaN", "inf", "-Infinity",
    "0x10",
    "1_000", " 3 ", "١٢", "½", "9" * 30, "-" + "9" * 30, "1" + "0" * 5000, "2147483648", "4294967296",
    "18446744073709551616", "1000000000", "True", "None", "null",
)  # fmt: skip
TEXTS = (
    "", " ", "\t", "a\nb", ESCAPE, "\x1b[31mred\x1b[0m", "\r\x1b[K", "\u202ecod", "\udcff", "'", '"', "--steps", "-",
    "--", "=", "a=b",
    "%s%n", "{}", "{0.__class__}", "$(touch sprung)", "`touch sprung`", "; touch sprung", "*", "~", "~root",
    "x" * 5000,
    "é" * 300, "🎈", "👩‍👩‍👧", "a\u0301" * 200, "\u200b", "file:///etc/passwd", "http://localhost/",
    "\\\\server\\share",
    "C:\\con", ",", ":", "a:b:c", "(" * 300, "((a:1e9)" * 50, "[a:b:0.5]", "{a|b}", "<lora:x:1>", "\ufeff",
    "\x7f\x80\x85",
)  # fmt: skip
PATHS = (
    "fifo", "folder", "loop", "nowhere/deep/x", "socket", "empty", "novel.txt", "../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero", "/dev/stdin", "/dev/null", "/dev/full", "/proc/self/mem", "/proc/self/environ", ".", "..", "/",
    "model", "model.safetensors",
    "lora.safetensors", "zorb.pt", "start.png", "drawn.png", "run/state.safetensors", "x" * 300 + ".png", "locked",
)  # fmt: skip
LEAVES: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 3, 7, 64, 10**9, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, 1e-320, float("nan"),
    float("inf"), "", "a",
    ESCAPE, "x" * 3000, "../../etc/passwd", "/dev/zero", "fifo", "1", "1e9", "\ud800", [], {}, [[]], [1, "a"],
    [10**9] * 4, {"a": 1},
    [0] * 1000, "nan", [None], "__import__('os').system('touch sprung')", {"__class__": "os.system"},
)  # fmt: skip


def things(here: Path) -> None:
    """What is no regular file, for paths to name; beside it some that are."""
    import os
    import socket

    os.mkfifo(here / "fifo")
    (here / "folder").mkdir()
    (here / "loop").symlink_to("loop")
    (here / "empty").touch()
    (here / "novel.txt").write_text("It was a dark and stormy night. " * 20)
    (here / "locked").mkdir(mode=0o500)
    with socket.socket(socket.AF_UNIX) as server:
        place = os.getcwd()
        os.chdir(here)  # the name of a socket is short
        server.bind("socket")
        os.chdir(place)


def put(path: Path, data: bytes) -> Path:
    """Write a file anew: the one that was there may be a hard link to the whole one."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


def number(rng: random.Random) -> str:
    return rng.choice(NUMBERS)


def value(rng: random.Random) -> str:
    """A wild value of an option."""
    kind = rng.random()
    if kind < 0.4:
        return number(rng)
    if kind < 0.75:
        return rng.choice(TEXTS)
    if kind < 0.95:
        return rng.choice(PATHS)
    return "".join(chr(rng.choice((rng.randrange(1, 0x300), rng.randrange(0x2000, 0x2100), 0x1F600))) for _ in range(9))


def damaged(data: bytes, rng: random.Random, front: int = 300) -> bytes:
    """`data` with bytes changed, cut, doubled or left out, more often near its start."""
    out = bytearray(data or b"x")
    kind = rng.randrange(6)
    at = rng.randrange(min(front, len(out)) if rng.random() < 0.6 else len(out))
    if kind == 0:
        return bytes(out[:at])
    if kind == 1:
        out[at : at + 8] = rng.choice(
            (b"\xff" * 8, b"\x7f" + b"\xff" * 7, bytes(8), bytes(7) + b"\x7f", b"\x1b[31m\x07\x9b\0")
        )
    elif kind == 2:
        out[at:at] = out[at : at + rng.randrange(1, 200)] * rng.randrange(1, 4)
    elif kind == 3:
        del out[at : at + rng.randrange(1, 200)]
    else:
        for _ in range(rng.randrange(1, 20)):
            out[rng.randrange(min(front, len(out)) if kind == 4 else len(out))] = rng.randrange(256)
    return bytes(out)


def leaf(rng: random.Random) -> object:
    """An odd value for a place in JSON."""
    return copy.deepcopy(rng.choice(LEAVES))


def _places(held: object) -> Iterator[tuple[Callable[[object], None], Callable[[], None]]]:
    """Every place in a JSON value: how to set it, and how to drop it."""
    if isinstance(held, dict):
        for key in held:
            yield (lambda new, key=key: held.__setitem__(key, new)), (lambda key=key: held.pop(key, None))  # type: ignore[misc]
            yield from _places(held[key])
    elif isinstance(held, list):
        for index in range(len(held)):
            yield (lambda new, index=index: held.__setitem__(index, new)), (lambda: held and held.pop())  # type: ignore[misc]
            yield from _places(held[index])


def json_text(held: object, rng: random.Random, names: tuple[str, ...] = ()) -> str:
    """`held`, which is changed, as JSON that is wrong in one to three ways."""
    for _ in range(rng.randint(1, 3)):
        places = list(_places(held))
        setting, dropping = rng.choice(places) if places else (lambda new: None, lambda: None)
        kind = rng.random()
        if kind < 0.6:
            setting(leaf(rng))
        elif kind < 0.75:
            dropping()
        elif isinstance(held, dict):
            held[rng.choice((*names, ESCAPE, "", "a"))] = leaf(rng)
    text = json.dumps(held)
    kind = rng.random()
    if kind < 0.04:
        text = text[: rng.randrange(len(text) + 1)]
    elif kind < 0.08:
        text = text.replace(":", f": {'[' * 5000},", 1)
    elif kind < 0.12:
        text = rng.choice(
            ("", "[]", "1", "null", '"a"', "[" * 100_000, '{"a":' * 500 + "1" + "}" * 500, "\ufeff" + text, "NaN")
        )
    elif kind < 0.2 and isinstance(held, dict) and held:  # a key twice
        key = rng.choice(list(held))
        text = (
            f"{text[:-1]}, {json.dumps(key)}: {rng.choice(('null', '1e999', '9' * 40, '9' * 6000, '[]', '{}', '-1'))}}}"
        )
    return text


def json_bytes(held: object, rng: random.Random, names: tuple[str, ...] = ()) -> bytes:
    """The same as a file's bytes, now and then in no encoding of text."""
    data = json_text(held, rng, names).encode("utf-8", "surrogatepass")
    return damaged(data, rng) if rng.random() < 0.05 else data
