"""The names of the files that Python opens, while a test collects them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OPENED: list[str] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _OPENED is not None:
        _OPENED.append(str(arguments[0]))


sys.addaudithook(_hook)


@contextmanager
def opening() -> Iterator[list[str]]:
    """Collect the names within the block."""
    global _OPENED
    _OPENED = names = []
    try:
        yield names
    finally:
        _OPENED = None
