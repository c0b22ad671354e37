"""Parts of the OpenAPI description of the OpenAI interface that FastAPI cannot derive: bodies and files."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from scorefield.request import Drawing
from scorefield.server.described import EVENT_STREAM
from scorefield.server.openai_fields import (
    OURS_OF_EDITS,
    OURS_OF_PICTURES,
    OURS_OF_VIDEOS,
    EditFields,
    GenerationFields,
    VariationFields,
    VideoFields,
)

_FILE = {"type": "string", "format": "binary"}
_BINARY = {"schema": _FILE}
_SENT = ("negative_prompt", "steps", "cfg_scale", "seed", "sampler", "schedule", "strength", "frames", "fps")

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The pictures; with `stream`, events with pictures of the way, and then each picture.",
        "content": EVENT_STREAM,
    }
}
IMAGE_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture.",
        "content": {f"image/{form}": _BINARY for form in ("png", "jpeg", "webp", "gif")},
    }
}
VIDEO_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The film, or pictures from it.",
        "content": dict.fromkeys(("video/mp4", "image/webp", "image/jpeg"), _BINARY),
    }
}


def _schema(kind: type[BaseModel], ours: Iterable[str], *needed: str) -> dict[str, Any]:
    """The fields of `kind`, the options of a drawing that other programs send, too, and files that are `needed`."""
    schema = kind.model_json_schema()
    options = Drawing.model_json_schema(by_alias=False)["properties"]
    return {
        "type": "object",
        "description": "Besides: the options of a drawing by their names, as in POST /jobs.",
        "properties": {**schema["properties"], **{name: options[name] for name in _SENT if name in ours}},
        "required": [*schema.get("required", []), *needed],
    }


def _json(schema: dict[str, Any], example: dict[str, object]) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "example": example}}


def _form(schema: dict[str, Any], *files: str) -> dict[str, Any]:
    """A form with files; as JSON they are base64, data URLs, or {"image_url": one of these}."""
    properties = {**schema["properties"], **dict.fromkeys(files, _FILE)}
    return {"multipart/form-data": {"schema": {**schema, "properties": properties}}}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


_VIDEO = _schema(VideoFields, OURS_OF_VIDEOS)

GENERATION_BODY = _body(
    _json(_schema(GenerationFields, OURS_OF_PICTURES), {"prompt": "a tree in the desert", "steps": 25, "seed": 7})
)
EDIT_BODY = _body(_form(_schema(EditFields, OURS_OF_EDITS, "image"), "image", "mask", "markup"))
VARIATION_BODY = _body(_form(_schema(VariationFields, OURS_OF_EDITS, "image"), "image"))
VIDEO_BODY = _body(_json(_VIDEO, {"prompt": "a red car drives off"}) | _form(_VIDEO, "input_reference"))
