"""JSON files that other programs wrote, read with every size bounded."""

import json
from collections.abc import Mapping
from pathlib import Path

from scorefield.errors import DamagedError
from scorefield.weights.file_kind import check_regular, file_errors

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_LARGEST = 64_000_000  # bytes; the index of the largest published model has less than one million
_DEEPEST = 100  # containers inside each other
_DIGITS = 20  # of an integer: 64 bits have 19 or 20


def read_json(path: Path) -> Mapping[str, Json]:
    """Read the object that a JSON file holds; MissingError or DamagedError if it cannot be read or is no object."""
    check_regular(path)
    with file_errors(path):
        if path.stat().st_size > _LARGEST:
            raise DamagedError(f"{path} is too large to be what its name says")
        data = path.read_bytes()
    try:
        value = parse_json(data)
    except ValueError as error:
        raise DamagedError(f"{path} is damaged: {error}; get it again") from None
    if not isinstance(value, dict):
        raise DamagedError(f"{path} is damaged: it holds no JSON object; get it again")
    return value


def parse_json(text: str | bytes) -> Json:
    """Parse JSON; ValueError, in a few words, for text that is no JSON, nested too deep or has a number too long."""
    try:
        value: Json = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None
    except _LongNumberError:
        raise
    except ValueError:
        raise ValueError("it is no JSON") from None
    level: list[Json] = [value]
    for _ in range(_DEEPEST):
        level = [inner for one in level if isinstance(one, dict | list)
                 for inner in (one.values() if isinstance(one, dict) else one)]  # fmt: skip
        if not level:
            return value
    raise ValueError("its JSON is nested too deep")


class _LongNumberError(ValueError):
    """A whole number that no setting of a model has."""


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise _LongNumberError(f"it holds a number of {len(digits)} digits")
    return int(digits)
