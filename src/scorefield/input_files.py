"""Files that other programs wrote: only regular files are opened, and JSON is bounded."""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scorefield.errors import DamagedError, MissingError, ScorefieldError, UnsupportedError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_LARGEST = 64_000_000  # bytes; the index of the largest published model has less than one million
_DEEPEST = 100  # nested containers
_DIGITS = 20  # of an integer: 64 bits have 19 or 20
_SPECIAL = {stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def check_regular(path: Path) -> None:
    """Raise MissingError if nothing is at `path`, UnsupportedError if reading it may never end, as with a pipe."""
    with file_errors(path):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise UnsupportedError(f"{path} is {_SPECIAL.get(stat.S_IFMT(mode), 'a folder')}, not a regular file")


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about `path` into one line: MissingError or DamagedError."""
    try:
        yield
    except ScorefieldError:
        raise
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file or folder") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise DamagedError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def read_bytes(path: Path) -> bytes:
    """Read a file of text; MissingError, UnsupportedError or DamagedError if it cannot be read or is far too large."""
    check_regular(path)
    with file_errors(path):
        if path.stat().st_size > _LARGEST:
            raise DamagedError(f"{path} is too large to be what its name says")
        return path.read_bytes()


def read_json(path: Path) -> Mapping[str, Json]:
    """Read the object in a JSON file; DamagedError if it holds something else, other errors as in `read_bytes`."""
    data = read_bytes(path)
    try:
        value = parse_json(data)
    except ValueError as error:
        raise DamagedError(f"{path} is damaged: {error}; get it again") from None
    if not isinstance(value, dict):
        raise DamagedError(f"{path} is damaged: it is not a JSON object; get it again")
    return value


def parse_json(text: str | bytes) -> Json:
    """Parse JSON; ValueError, in a few words, if it is not JSON, is nested too deeply or has too long a number."""
    try:
        value: Json = json.loads(text, parse_int=lambda digits: int(digits[: _DIGITS + 2]))
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not JSON") from None
    level: list[Json] = [value]
    for _ in range(_DEEPEST):
        if any(type(one) is int and len(str(abs(one))) > _DIGITS for one in level):
            raise ValueError(f"it holds a number of more than {_DIGITS} digits")
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else
                                                      one if isinstance(one, list) else ())]  # fmt: skip
        if not level:
            return value
    raise ValueError("its JSON is nested too deeply")
