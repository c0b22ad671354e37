"""How an option is shown on the command line, and the groups that options form."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How a field is shown: its flags on the command line, and in words the values that it takes."""

    flags: tuple[str, ...]
    expects: str
    switch: bool = False  # a flag without a value
    metavar: str | None = None  # the placeholder of the value in the help; None for the last word of the field's name
    many: bool = False  # a flag may be given several times


class Group(BaseModel):
    """Options of one subject; a stage declares which groups it takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    title: ClassVar[str]  # the heading in the help
    instead: ClassVar[str] = ""  # what helps where a model does not take the group
    written_otherwise: ClassVar[dict[str, tuple[Option, str]]] = {}  # other ways to write fields, with their help


def short(value: object) -> str:
    """A value as an error message quotes it, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
