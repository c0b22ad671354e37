"""From a caller's values to a request, or to an error of one line that says what is wrong with them."""

from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import AliasChoices, ValidationError

from scorefield.errors import RequestError
from scorefield.request.fields import Request
from scorefield.request.option import Option, short


def options() -> dict[str, tuple[Option, str]]:
    """Every field that the command line shows, by name: its Option and its description."""
    shown: dict[str, tuple[Option, str]] = {}
    for name, field in Request.model_fields.items():
        option = _option(name)
        if option.flags:
            shown[name] = (option, field.description or "")
    return shown


def parse(values: Mapping[str, object]) -> Request:
    """The request that `values` describe, by name or alias; RequestError names the first value that is wrong."""
    try:
        return Request.model_validate(dict(values))
    except ValidationError as error:
        raise RequestError(_line(error)) from None


def _line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name = str(first["loc"][0]) if first["loc"] else "request"
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return "there is no prompt; say what to draw"
    field = next((field for field in Request.model_fields if name in _names(field)), None)
    if field is None:
        near = get_close_matches(name, {"size", *(str(one) for field in Request.model_fields for one in _names(field))})
        hint = f"nearest: {', '.join(near)}" if near else f"the options are {', '.join(Request.model_fields)}, size"
        return f"there is no option {name!r}; {hint}"
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return f"{name} is another name of {field}; give one of the two"
    return f"{name} must be {_option(field).expects}, not {short(first['input'])}"


def _option(field: str) -> Option:
    return next(item for item in Request.model_fields[field].metadata if isinstance(item, Option))


def _names(field: str) -> tuple[object, ...]:
    alias = Request.model_fields[field].validation_alias
    return (field, *(alias.choices if isinstance(alias, AliasChoices) else ()))
