"""Parts of the OpenAPI description that FastAPI cannot derive: the body of a job, and the errors."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from scorefield.queue.ledger import PICTURES
from scorefield.request import Drawing


class ErrorOut(BaseModel):
    """What is wrong, and what to do."""

    kind: str
    message: str
    option: str | None


class ErrorsOut(BaseModel):
    """An error."""

    error: ErrorOut


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorsOut, "description": "The request cannot be met as it is."},
    401: {"model": ErrorsOut, "description": "The API key is missing or wrong."},
    403: {"model": ErrorsOut, "description": "The request comes from another site's page."},
    404: {"model": ErrorsOut, "description": "There is no such job, file or model."},
    408: {"model": ErrorsOut, "description": "The request stalled."},
    409: {"model": ErrorsOut, "description": "A file of the server is damaged."},
    413: {"model": ErrorsOut, "description": "The request is too long."},
    421: {"model": ErrorsOut, "description": "The server is not known by that name."},
    422: {"model": ErrorsOut, "description": "A value of the request has the wrong form."},
    429: {"model": ErrorsOut, "description": "Too many requests, or too many jobs waiting."},
    503: {"model": ErrorsOut, "description": "The machine cannot do it now: memory, disk."},
}
EVENT_STREAM: dict[str, Any] = {  # the schema is an event's
    "text/event-stream": {
        "schema": {
            "type": "object",
            "properties": {"event": {"type": "string"}, "data": {"type": "string", "description": "JSON."}},
            "required": ["event", "data"],
        }
    }
}
_PICTURE = {"anyOf": [{"type": "string", "contentEncoding": "base64"}, {"type": "null"}]}
_WRITTEN_OTHERWISE: Mapping[str, Any] = {
    "model": {"type": "string", "default": "scenes", "description": "The name of a model, as GET /models lists it."},
    "size": {"type": "string", "description": "Width and height, such as 128x128.", "examples": ["128x128"]},
    "guidance_scale": {"type": "number", "description": "Guidance as in diffusers, where up to 1 is off."},
    "keep_steps": {"type": "boolean", "default": False, "description": "Keep pictures of every step."},
    "webhook": {
        "type": "string",
        "description": "An http(s) address that is called when the job is over; the operator allows its host.",
    },
}

JOB_LINKS: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "The job is accepted.",
        "links": {
            name: {"operationId": name, "parameters": {"job": "$response.body#/id"}}
            for name in ("get_job", "cancel_job", "delete_job", "follow_job", "get_output", "get_step")
        },
    }
}


def _job_schema() -> dict[str, Any]:
    """The options of a drawing, as JSON: pictures are base64."""
    schema = Drawing.model_json_schema(by_alias=False)
    properties = {name: one for name, one in schema["properties"].items() if name not in PICTURES}
    about = {name: schema["properties"][name].get("description", "") for name in PICTURES}
    pictures = {name: {**_PICTURE, "description": text} for name, text in about.items()}
    prompts = {
        "description": "The words to draw: a text, or several.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 256}],
    }
    return {
        "type": "object",
        "properties": {**properties, **pictures, **_WRITTEN_OTHERWISE, "prompts": prompts},
        "required": ["prompts"],
        "additionalProperties": False,
    }


JOB_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _job_schema(),
                "examples": {
                    "picture": {"value": {"prompts": "a tree in the desert", "steps": 25, "seed": 7}},
                    "several": {"value": {"prompts": ["a red car", "a cat in the snow"], "count": 2}},
                },
            }
        },
    }
}
