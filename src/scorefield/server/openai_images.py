"""OpenAI's interface for pictures: generations, edits and variations, with real previews in its streams."""

import asyncio
import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from scorefield.queue.entry import Entry, Made, State, Wish
from scorefield.server.desk import Desk, TheDesk, client_of
from scorefield.server.jobs_api import JobId, made_of
from scorefield.server.openai_body import Refused, read_fields, take_picture, take_pictures, validated
from scorefield.server.openai_described import EDIT_BODY, GENERATION_BODY, IMAGE_FILES, STREAM, VARIATION_BODY
from scorefield.server.openai_fields import (
    DEFAULT_MODEL,
    OURS_OF_EDITS,
    OURS_OF_PICTURES,
    EditFields,
    GenerationFields,
    VariationFields,
    drawing,
    steps_share,
)
from scorefield.server.openai_pictures import MEDIA_TYPES, Format, marked, output_bytes, repaint_mask
from scorefield.server.openai_queue import draws_films, failure_answer, submitted, tokens_of
from scorefield.server.openai_shapes import OPENAI_ERRORS, ImageOut, ImagesOut, size_of, usage
from scorefield.server.openai_stream import Streamed, streamed

FACE = "images"

router = APIRouter(prefix="/v1/images", tags=["openai"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request for pictures that has been read."""

    fields: GenerationFields
    values: Mapping[str, object]  # the options of the drawing
    share: float | None = None  # of the model's own number of steps
    kind: Literal["image_generation", "image_edit"] = "image_generation"


@router.post("/generations", response_model=ImagesOut, responses=OPENAI_ERRORS | STREAM, openapi_extra=GENERATION_BODY)
async def generations(request: Request, desk: TheDesk) -> ImagesOut | Response:
    """Draw pictures from words; with `stream`, send `partial_images` of the way as events."""
    given = await read_fields(request, desk.settings.most_body)
    fields, ours = validated(GenerationFields, given, OURS_OF_PICTURES)
    asked = _Asked(fields=fields, values=drawing(fields, ours), share=steps_share(fields, ours))
    return await _answer(asked, request, desk)


@router.post("/edits", response_model=ImagesOut, responses=OPENAI_ERRORS | STREAM, openapi_extra=EDIT_BODY)
async def edits(request: Request, desk: TheDesk) -> ImagesOut | Response:
    """Draw pictures that start from a given one, everywhere or where its mask is transparent."""
    given = await read_fields(request, desk.settings.most_body)
    pictures = await _pictures(given, desk)
    fields, ours = validated(EditFields, given, OURS_OF_EDITS)
    values = drawing(fields, ours) | pictures
    return await _answer(
        _Asked(fields=fields, values=values, share=steps_share(fields, ours), kind="image_edit"), request, desk
    )


@router.post("/variations", response_model=ImagesOut, responses=OPENAI_ERRORS, openapi_extra=VARIATION_BODY)
async def variations(request: Request, desk: TheDesk) -> ImagesOut | Response:
    """Draw pictures like a given one, without words."""
    given = await read_fields(request, desk.settings.most_body)
    pictures = await _pictures(given, desk)
    fields, ours = validated(VariationFields, given, OURS_OF_EDITS - {"prompt", "prompts"})
    values = drawing(fields, ours) | pictures
    whole = GenerationFields.model_validate({**fields.model_dump(), "prompt": ""})
    return await _answer(_Asked(fields=whole, values=values), request, desk)


@router.get("/{job}/{index}.{form}", response_class=Response, responses=OPENAI_ERRORS | IMAGE_FILES)
async def image(
    job: JobId,
    index: int,
    form: Format,
    desk: TheDesk,
    output_compression: Annotated[int, Query(ge=0, le=100)] = 100,
    frame_count: Annotated[int | None, Query(ge=2, le=16)] = None,
    frame_ms: Annotated[int, Query(ge=20, le=655_350)] = 200,
) -> Response:
    """The file of a picture, as `response_format` url leads to it."""
    entry, made = desk.entry(job), made_of(desk, job, index)
    frames, seconds = frame_count or entry.frames, frame_ms / 1000
    data = await asyncio.to_thread(
        output_bytes, desk, entry, made, form, compression=output_compression, frames=frames, seconds=seconds
    )
    return Response(data, media_type=MEDIA_TYPES[form])


async def _answer(asked: _Asked, request: Request, desk: Desk) -> ImagesOut | Response:
    """Draw, and answer; if the client goes away meanwhile, the job is cancelled."""
    fields = asked.fields
    fields.check()
    values = await _with_frames(asked, desk)
    wish = Wish(client=client_of(request, fields.who), face=FACE, ending=".gif" if fields.is_gif else "")
    entry = await submitted(desk, values, wish, asked.share)
    if fields.stream:
        return await streamed(Streamed(kind=asked.kind, fields=fields, entry=entry), desk)
    entry = await desk.finished(entry.id, request)
    if entry.state is not State.DONE:
        return failure_answer(entry)
    answer = ImagesOut(
        created=int(time.time()),
        data=[await _out(fields, entry, made, desk, request) for made in desk.jobs.outputs(entry.id)],
        output_format=fields.output_format,
        quality=fields.called,
        safety_identifier=fields.who or None,
        size=size_of(entry),
        usage=usage(await tokens_of(desk, entry)),
        notes=list(entry.notes),
    )
    return Response(answer.model_dump_json(), media_type="application/json", headers={"x-request-id": entry.id})


async def _with_frames(asked: _Asked, desk: Desk) -> dict[str, object]:
    """The options with the frames to draw: those of a gif, and one of a model that draws films."""
    fields, model = asked.fields, asked.fields.model or DEFAULT_MODEL
    if await draws_films(desk, model):
        frames = {"frames": fields.frames_drawn, "fps": 1 / fields.frame_seconds} if fields.is_gif else {"frames": 1}
        return {**asked.values, **frames}
    if fields.is_gif:
        line = f"output_format gif needs a model that draws films; {model} draws pictures: use png, jpeg or webp"
        raise Refused(line, option="output_format", code="unsupported_value")
    return dict(asked.values)


async def _out(fields: GenerationFields, entry: Entry, made: Made, desk: Desk, request: Request) -> ImageOut:
    if fields.response_format == "url":
        return ImageOut(url=_url(fields, entry, made, request), seed=str(made.seed))
    data = await asyncio.to_thread(
        output_bytes, desk, entry, made, fields.output_format, compression=fields.output_compression,
        frames=fields.frames, seconds=fields.frame_seconds,
    )  # fmt: skip
    return ImageOut(b64_json=base64.b64encode(data).decode(), seed=str(made.seed))


def _url(fields: GenerationFields, entry: Entry, made: Made, request: Request) -> str:
    options: dict[str, object] = {}
    if fields.is_gif and fields.frames != entry.frames:
        options = {"frame_count": fields.frames, "frame_ms": round(1000 * fields.frame_seconds)}
    elif fields.output_compression is not None:
        options = {"output_compression": fields.output_compression}
    query = f"?{urlencode(options)}" if options else ""
    return f"{request.base_url}v1/images/{entry.id}/{made.index}.{fields.output_format}{query}"


async def _pictures(given: dict[str, object], desk: Desk) -> dict[str, object]:
    """Take the pictures of a request: the one to start from, with markup drawn over it, and our mask.

    Refused without a picture, and for several: the models here start from one.
    """
    images = [*take_pictures(given, "image"), *take_pictures(given, "images")]
    mask, markup = take_picture(given, "mask"), take_picture(given, "markup")
    if not images:
        raise Refused("image is missing", option="image", code="missing_required_parameter")
    if len(images) > 1:
        line = f"there are {len(images)} images, and the models here start from one; send the one to change"
        raise Refused(line, option="image", code="unsupported_value")
    if mask is not None and markup is not None:
        raise Refused("mask and markup exclude each other", option="markup", code="invalid_value")
    pictures = {"image": images[0], "mask": mask, "markup": markup}
    for name, data in pictures.items():
        desk.check_picture(name, data)
    if markup is not None:
        return {"image": await asyncio.to_thread(marked, images[0], markup)}
    if mask is not None:
        return {"image": images[0], "mask": await asyncio.to_thread(repaint_mask, mask, images[0])}
    return {"image": images[0]}
