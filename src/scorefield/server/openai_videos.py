"""OpenAI's interface for films, as local servers go on to speak it: jobs that are asked after, and their files."""

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse, Response

from scorefield.files.made_files import frames_of
from scorefield.files.walk_pictures import tiled
from scorefield.queue.entry import Entry, State, Wish
from scorefield.server.answers import NotFound
from scorefield.server.desk import Desk, TheDesk, client_of, failed
from scorefield.server.jobs_api import made_of
from scorefield.server.openai_body import Refused, read_fields, take_picture, validated
from scorefield.server.openai_described import VIDEO_BODY, VIDEO_FILES
from scorefield.server.openai_fields import OURS_OF_VIDEOS, VideoFields, with_real_guidance
from scorefield.server.openai_queue import draws_films, failure_answer, submitted
from scorefield.server.openai_shapes import OPENAI_ERRORS, VideoGone, VideoOut, VideosOut, video_out

FACE = "videos"
_SHEET = 16  # frames of a sprite sheet
_QUALITY = 85  # of pictures from a film
_SOONEST, _LATEST, _UNKNOWN = 200, 5000, 1000  # ms until a client asks again
_POLL = {"headers": {"openai-poll-after-ms": {"description": "When to ask again.", "schema": {"type": "integer"}}}}

VideoId = Annotated[str, InPath(description="The id of a film.")]
Variant = Literal["video", "thumbnail", "spritesheet"]

router = APIRouter(prefix="/v1/videos", tags=["openai"])


@router.post("", responses=OPENAI_ERRORS, openapi_extra=VIDEO_BODY)
async def create_video(request: Request, desk: TheDesk) -> VideoOut:
    """Accept a film, from words and perhaps a first frame."""
    return _out(desk, await _submitted(request, desk))


@router.post("/sync", response_class=FileResponse, responses=OPENAI_ERRORS | VIDEO_FILES, openapi_extra=VIDEO_BODY)
async def create_video_now(request: Request, desk: TheDesk) -> Response:
    """Draw a film, and answer with its file; if the client goes away meanwhile, the job is cancelled."""
    entry = await _submitted(request, desk)
    entry = await desk.finished(entry.id, request)
    if entry.state is not State.DONE:
        return failure_answer(entry)
    return FileResponse(_path(desk, entry), headers={"x-request-id": entry.id})


@router.get("", responses=OPENAI_ERRORS)
def videos(
    desk: TheDesk,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=64, description="The last film of the page before.")] = None,
    order: Literal["asc", "desc"] = "desc",
) -> VideosOut:
    """List the films that were asked for here, the newest first."""
    listed = desk.jobs.folder.ledger.listed
    entries = listed(limit=limit + 1, before=after, faces=(FACE,), oldest_first=order == "asc")
    page = [_out(desk, one) for one in entries[:limit]]
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    return VideosOut(data=page, has_more=len(entries) > limit, first_id=first, last_id=last)


@router.get("/{video}", responses=OPENAI_ERRORS | {200: _POLL})
def video(video: VideoId, desk: TheDesk, response: Response) -> VideoOut:
    """Tell how a film stands; a header says when to ask again."""
    entry = _entry(desk, video)
    if not entry.state.is_final:
        response.headers["openai-poll-after-ms"] = str(_wait(desk, entry))
    return _out(desk, entry)


@router.get("/{video}/content", response_class=FileResponse, responses=OPENAI_ERRORS | VIDEO_FILES)
async def video_content(video: VideoId, desk: TheDesk, variant: Variant = "video") -> Response:
    """The file of a finished film, its first frame (WebP), or a sheet of up to 16 frames (JPEG)."""
    entry = _entry(desk, video)
    if entry.state is not State.DONE:
        reason = failed(entry) if entry.state.is_final else "it is not finished yet"
        raise NotFound(f"there is no file of the film {video}: {reason}")
    path = _path(desk, entry)
    if variant == "video":
        return FileResponse(path)
    form = "WEBP" if variant == "thumbnail" else "JPEG"
    data = await asyncio.to_thread(_still, path, entry.frames, 1 if variant == "thumbnail" else _SHEET, form)
    return Response(data, media_type=f"image/{form.lower()}")


@router.delete("/{video}", responses=OPENAI_ERRORS)
def delete_video(video: VideoId, desk: TheDesk) -> VideoGone:
    """End a film that is not finished, and delete it with its files."""
    _entry(desk, video)
    desk.jobs.cancel(video)
    desk.jobs.forget(video)
    return VideoGone(id=video)


async def _submitted(request: Request, desk: Desk) -> Entry:
    given = await read_fields(request, desk.settings.most_body)
    reference = take_picture(given, "input_reference")
    fields, ours = validated(VideoFields, given, OURS_OF_VIDEOS)
    model = fields.model or _film_model(desk)
    if not await draws_films(desk, model):
        raise Refused(f"{model} draws pictures; name a model that draws films", option="model",
                      code="unsupported_value")  # fmt: skip
    values = {"prompts": fields.prompt, **fields.options(), "model": model, **with_real_guidance(ours)}
    if reference is not None:
        values["image"] = reference
    if fields.seconds is not None:
        values["frames"] = await _frames(desk, values, fields.seconds)
    return await submitted(desk, values, Wish(client=client_of(request, fields.who), face=FACE))


def _film_model(desk: Desk) -> str:
    """The film model that ships; Refused if none does."""
    specs = desk.jobs.shelf.specs()
    if (name := next((name for name, spec in specs.items() if spec.defaults.frames > 1), None)) is None:
        raise Refused("name a model that draws films; none ships with this server", option="model",
                      code="missing_required_parameter")  # fmt: skip
    return name


async def _frames(desk: Desk, values: dict[str, object], seconds: float) -> int:
    """The number of frames, 4k + 1, that comes nearest to so many seconds; Refused for more than are allowed."""
    if "frames" in values:
        raise Refused("seconds and frames exclude each other", option="seconds", code="invalid_value")
    plan = await asyncio.to_thread(desk.jobs.shelf.plan, desk.parsed(values))
    fps, most = plan.canvas.fps or 1.0, desk.jobs.limits.frames
    frames = 4 * max(1, round((seconds * fps - 1) / 4)) + 1
    if frames > most:
        line = f"{seconds:g} seconds are too long for this server: at most {most} frames, {most / fps:.3g} seconds"
        raise Refused(line, option="seconds", code="invalid_value")
    return frames


def _entry(desk: Desk, video: str) -> Entry:
    """A job that was asked for here; NotFound for any other."""
    entry = desk.jobs.entry(video)
    if entry is None or entry.wish.face != FACE:
        raise NotFound(f"there is no film {video[:80]!r}")
    return entry


def _out(desk: Desk, entry: Entry) -> VideoOut:
    moved = desk.jobs.feed.latest(entry.id)
    return video_out(entry, 0.0 if moved is None else moved.progress, desk.jobs.limits.keep_seconds)


def _wait(desk: Desk, entry: Entry) -> int:
    """Milliseconds after which it is worth to ask again: half of what is left."""
    standing = desk.jobs.standing(entry.id)
    if standing is None or standing.seconds is None:
        return _UNKNOWN
    return min(max(_SOONEST, round(500 * standing.seconds)), _LATEST)


def _path(desk: Desk, entry: Entry) -> Path:
    return desk.jobs.path(entry.id, made_of(desk, entry.id, 0).file)


def _still(path: Path, count: int, most: int, form: str) -> bytes:
    """Up to `most` of a film's frames, evenly spaced, as one picture."""
    kept = min(most, count)
    chosen = {round(k * (count - 1) / max(1, kept - 1)) for k in range(kept)}
    frames = [frame for k, frame in enumerate(frames_of(path, count)) if k in chosen]
    stream = BytesIO()
    (frames[0] if most == 1 else tiled(frames)).save(stream, form, quality=_QUALITY)
    return stream.getvalue()
