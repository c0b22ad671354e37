"""How the command line shows a field of the request, and the error for a request that cannot be met."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How a field is shown: its flags on the command line, and in words the values that it takes."""

    flags: tuple[str, ...]
    expects: str
    switch: bool = False  # a flag without a value
    metavar: str | None = None  # what stands for the value in the help; None for the last word of the field's name
    many: bool = False  # a flag may be given several times


def short(value: object) -> str:
    """A value as an error message quotes it, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
