"""The bodies of OpenAI's requests, JSON or a form: their fields by name, and the pictures in them."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from scorefield.errors import RequestError
from scorefield.request import Drawing
from scorefield.request.option import names_of, short
from scorefield.server.desk import from_base64, json_object

MOST_PICTURES = 16
_MOST_FIELDS = 200
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")

M = TypeVar("M", bound=BaseModel)


class Refused(RequestError):
    """A request that is refused, with OpenAI's code for the reason."""

    def __init__(self, line: str, *, option: str | None, code: str) -> None:
        super().__init__(line, option=option)
        self.code = code


def option_names(*without: str) -> frozenset[str]:
    """All names of the options of a drawing, apart from those of the fields `without`."""
    named = {name: names_of(name, info) for name, info in Drawing.model_fields.items() if name not in without}
    return frozenset(one for names in named.values() for one in names) | {"guidance_scale", "true_cfg_scale"}


async def read_fields(request: Request, most_bytes: int) -> dict[str, object]:
    """The fields of a body that have a value. Files are bytes; of a form, `a[]` is the list a, and `a[b]` a mapping.

    RequestError for a body of JSON that is not an object, HTTPException 400 for a form that is damaged.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _FORMS:
        return {name: value for name, value in (await json_object(request)).items() if value is not None}
    found: dict[str, object] = {}
    async with request.form(max_files=2 * MOST_PICTURES, max_fields=_MOST_FIELDS, max_part_size=most_bytes) as form:
        for name, value in form.multi_items():
            _add(found, name, await value.read() if isinstance(value, UploadFile) else value)
    return found


def take_pictures(fields: dict[str, object], name: str) -> list[bytes]:
    """Take the pictures of a field: files, base64, data URLs, or {"image_url": one of these}; alone or in a list."""
    value = fields.pop(name, None)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if len(values) > MOST_PICTURES:
        raise Refused(f"{name} has {len(values)} pictures; at most {MOST_PICTURES} are allowed", option=name,
                      code="invalid_value")  # fmt: skip
    return [_picture(one, name) for one in values]


def take_picture(fields: dict[str, object], name: str) -> bytes | None:
    """Take the picture of a field that holds one; Refused for several."""
    found = take_pictures(fields, name)
    if len(found) > 1:
        raise Refused(f"{name} must be one picture, not {len(found)}", option=name, code="invalid_value")
    return next(iter(found), None)


def validated(kind: type[M], fields: Mapping[str, object], ours: frozenset[str]) -> tuple[M, dict[str, object]]:
    """The fields of `kind`, and those options of a drawing that are `ours`; Refused names the first that is wrong."""
    known = kind.model_fields.keys() | ours
    if unknown := next((name for name in fields if name not in known), None):
        near = get_close_matches(unknown, sorted(known), n=1)
        hint = f"the nearest is {near[0]!r}" if near else "see /openapi.json"
        raise Refused(f"there is no field {short(unknown)}; {hint}", option=unknown[:80], code="unknown_parameter")
    try:
        own = kind.model_validate({name: value for name, value in fields.items() if name in kind.model_fields})
    except ValidationError as error:
        raise _refused(error) from None
    return own, {name: value for name, value in fields.items() if name not in kind.model_fields}


def _refused(error: ValidationError) -> Refused:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    if first["type"] == "missing":
        return Refused(f"{name} is missing", option=name, code="missing_required_parameter")
    if first["type"] == "value_error":
        return Refused(str(first["ctx"]["error"]), option=name, code="invalid_value")
    expected = first["msg"].partition(", unable")[0].replace("Input should", "must").replace("String should", "must")
    return Refused(f"{name} {expected}, not {short(first['input'])}", option=name, code="invalid_value")


def _add(found: dict[str, object], name: str, value: object) -> None:
    """Add a field of a form, whose name may be `a`, `a[]`, `a[0]` or `a[b]`."""
    name, _, inner = name.partition("[")
    inner = inner.rstrip("]")
    if inner and not inner.isdigit():
        value = {inner: value}
    before = found.get(name)
    if before is None:
        found[name] = value
    elif isinstance(before, dict) and isinstance(value, dict):
        before.update(value)
    else:
        found[name] = [*before, value] if isinstance(before, list) else [before, value]


def _picture(value: object, name: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        if "file_id" in value:
            line = f"this server keeps no files; send {name} itself, or as a data URL in image_url"
            raise Refused(line, option=name, code="unsupported_value")
        value = value.get("image_url")
    return from_base64(value, name)
