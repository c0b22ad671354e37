"""How a face shows a field of the request, and the one error of what is asked."""

from dataclasses import dataclass


class RequestError(ValueError):
    """A request that cannot be met as it is asked: one line that says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How a face shows a field: its flags on the command line, and its values in words; a `switch` takes no value."""

    flags: tuple[str, ...]
    expects: str
    switch: bool = False
    metavar: str | None = None  # None for the last word of its name
    many: bool = False  # a flag may be given several times


def short(value: object) -> str:
    """A value as an error quotes it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
