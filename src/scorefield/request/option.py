"""How options are declared, shown on the command line, and grouped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast, get_args, get_origin

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How a field is shown: its flags on the command line, and the values that it takes, in words."""

    flags: tuple[str, ...]
    expects: str
    switch: bool = False  # a flag without a value
    metavar: str | None = None  # the placeholder of the value in the help; None for the last word of the field's name
    many: bool = False  # a flag may be given several times


Name = Annotated[str, Field(min_length=1, max_length=100)]


class Group(BaseModel):
    """Options of one subject; a stage declares which groups it takes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False,
        defer_build=True,  # most groups are never validated by themselves: 24 ms less at an import
    )  # fmt: skip

    title: ClassVar[str]  # the heading in the help
    instead: ClassVar[str] = ""  # what to do if a model does not take the group
    written_otherwise: ClassVar[dict[str, tuple[Option, str]]] = {}  # other ways to write fields, with their help


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """The declaration of an option, before its field has a name and a type."""

    flags: tuple[str, ...] | None
    letter: str | None
    expects: str
    bounds: str
    metavar: str | None
    many: bool


def option(
    default: object,
    description: str = "",
    *,
    names: Sequence[str] = (),
    letter: str | None = None,
    flags: tuple[str, ...] | None = None,
    expects: str = "",
    metavar: str | None = None,
    many: bool = False,
    ge: int | None = None,
    gt: int | None = None,
    le: int | None = None,
) -> Any:
    """Declare a field of a group; `default` is ... if it is required.

    `names` are its names in other programs. Its command-line flags are `flags`, by default all of its names and the
    `letter`. `expects` describes its values if its type and bounds (ge, gt, le) do not.
    """
    aliases = AliasChoices(*names) if names else None
    info = cast(FieldInfo, Field(default, description=description, validation_alias=aliases, ge=ge, gt=gt, le=le))
    bounds = f"from {ge} to {le}" if gt is None else f"above {gt}, at most {le}"
    info.metadata.append(
        _Declared(flags=flags, letter=letter, expects=expects, bounds=bounds, metavar=metavar, many=many)
    )
    return info


def names_of(name: str, info: FieldInfo) -> tuple[str, ...]:
    """All names of a field."""
    alias = info.validation_alias
    return (name, *(str(one) for one in alias.choices)) if isinstance(alias, AliasChoices) else (name,)


def shown(name: str, info: FieldInfo) -> Option:
    """How a field is shown."""
    declared = next(item for item in info.metadata if isinstance(item, _Declared))
    letter = (f"-{declared.letter}",) if declared.letter else ()
    flags = declared.flags
    return Option(
        flags=(*letter, *(f"--{one.replace('_', '-')}" for one in names_of(name, info))) if flags is None else flags,
        expects=declared.expects or _expects(info.annotation, declared.bounds),
        switch=info.annotation is bool,
        metavar=declared.metavar,
        many=declared.many,
    )


def _expects(kind: object, bounds: str) -> str:
    """The values of a field of type `kind` in words, apart from None."""
    for one in (kind, *get_args(kind)):
        if get_origin(one) is Literal:
            *words, last = get_args(one)
            return f"{', '.join(words)} or {last}"
        if one in (int, float):
            return f"a{' whole' * (one is int)} number {bounds}"
    return "true or false"


def short(value: object) -> str:
    """A value as an error message quotes it, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
