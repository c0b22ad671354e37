"""Our own interface: jobs that are submitted, followed by server-sent events, cancelled and kept."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from scorefield.errors import RequestError
from scorefield.queue.entry import Entry, Made, State, Wish
from scorefield.queue.feed import Changed, Follower, Moved, Preview, Ready, Wants
from scorefield.queue.kept_steps import step_name
from scorefield.queue.ledger import PICTURES
from scorefield.server.answers import NotFound
from scorefield.server.described import ERRORS, EVENT_STREAM, JOB_BODY, JOB_LINKS
from scorefield.server.desk import Desk, TheDesk, client_of, from_base64, json_object

_QUALITY = 85  # of previews, WebP
_MOST_LISTED = 200
_MEDIA_OF = {"png": "image/png", "webp": "image/webp", "gif": "image/gif", "mp4": "video/mp4"}  # by ending
_MEDIA = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _MEDIA_OF.values()}

JobId = Annotated[str, Field(description="The id of a job.", examples=["job_0123456789abcdef01234567"])]

router = APIRouter(tags=["jobs"])


class OutputOut(BaseModel):
    """A finished picture or film."""

    index: int
    url: str
    media: str = Field(description="The type of the file, such as image/png.")
    prompt: str
    seed: str = Field(description="A whole number below 2^64, which JavaScript's numbers cannot hold.")
    sha256: str
    steps: int = Field(description="Steps 0 to n whose pictures are kept; 0 without keep_steps.")


class JobOut(BaseModel):
    """A job. Times are seconds since 1970."""

    model_config = ConfigDict(use_enum_values=True)

    id: str
    state: State
    progress: float = Field(description="0 to 1.")
    position: int | None = Field(description="Jobs that will be over before it; null if it is over.")
    seconds_left: float | None = Field(description="Time to expect until it is done, where that can be told.")
    model: str
    total: int = Field(description="Outputs that it makes.")
    outputs: list[OutputOut]
    frames: int
    created: float
    started: float | None
    finished: float | None
    error: str | None
    notes: list[str]
    request: dict[str, object] = Field(description="The complete request, with which it can be drawn again.")


class JobsOut(BaseModel):
    """Some jobs, the newest first."""

    jobs: list[JobOut]
    next: str | None = Field(description="Give it as `before` to read on; null at the end.")


def job_out(desk: Desk, entry: Entry) -> JobOut:
    """A job as clients see it."""
    standing, moved = desk.jobs.standing(entry.id), desk.jobs.feed.latest(entry.id)
    done = 1.0 if entry.state is State.DONE else entry.done / entry.total
    return JobOut(
        id=entry.id,
        state=entry.state,
        progress=moved.progress if moved is not None and not entry.state.is_final else done,
        position=None if standing is None else standing.position,
        seconds_left=None if standing is None else standing.seconds,
        model=entry.request.model,
        total=entry.total,
        outputs=[output_out(entry.id, made) for made in desk.jobs.outputs(entry.id)],
        frames=entry.frames,
        created=entry.created,
        started=entry.started,
        finished=entry.finished,
        error=entry.error,
        notes=list(entry.notes),
        request=entry.request.model_dump(mode="json") | {"seed": str(entry.request.seed)},
    )


def output_out(job: str, made: Made) -> OutputOut:
    """An output as clients see it."""
    return OutputOut(
        index=made.index, url=f"/jobs/{job}/outputs/{made.index}", media=_MEDIA_OF[made.file.rpartition(".")[2]],
        prompt=made.prompt, seed=str(made.seed), sha256=made.sha256, steps=made.steps,
    )  # fmt: skip


@router.post("/jobs", status_code=202, responses=ERRORS | JOB_LINKS, openapi_extra=JOB_BODY)
async def submit(request: Request, desk: TheDesk) -> JobOut:
    """Accept a job. It is drawn when it is its client's turn, and survives a restart of the server."""
    body = await json_object(request)
    keep_steps, webhook = body.pop("keep_steps", False), body.pop("webhook", None)
    if not isinstance(keep_steps, bool):
        raise RequestError("keep_steps must be true or false", option="keep_steps")
    wish = Wish(client=client_of(request), keep_steps=keep_steps, webhook=_allowed(webhook, desk))
    return job_out(desk, await desk.submit(with_uploads(body), wish))


@router.get("/jobs", responses=ERRORS)
def jobs(
    desk: TheDesk,
    limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 50,
    before: Annotated[str | None, Query(max_length=64, description="A job's id: list those older than it.")] = None,
    words: Annotated[str, Query(max_length=200, description="List those whose prompts contain this text.")] = "",
) -> JobsOut:
    """List jobs, the newest first."""
    entries = desk.jobs.folder.ledger.listed(limit=limit + 1, before=before, words=words)
    page = entries[:limit]
    return JobsOut(jobs=[job_out(desk, one) for one in page], next=page[-1].id if len(entries) > limit else None)


@router.get("/jobs/{job}", operation_id="get_job", responses=ERRORS)
def job(job: JobId, desk: TheDesk) -> JobOut:
    """Tell how a job stands."""
    return job_out(desk, desk.entry(job))


@router.post("/jobs/{job}/cancel", operation_id="cancel_job", responses=ERRORS)
def cancel(job: JobId, desk: TheDesk) -> JobOut:
    """End a job at its next step. One that is over stays as it is."""
    desk.entry(job)
    desk.jobs.cancel(job)
    return job_out(desk, desk.entry(job))


@router.delete("/jobs/{job}", operation_id="delete_job", status_code=204, responses=ERRORS)
def delete(job: JobId, desk: TheDesk) -> Response:
    """End a job, and delete it with its files."""
    desk.entry(job)
    desk.jobs.cancel(job)
    desk.jobs.forget(job)
    return Response(status_code=204)


@router.get(
    "/jobs/{job}/events",
    operation_id="follow_job",
    response_class=StreamingResponse,
    responses=ERRORS | {200: {"description": "Events, until the job is over.", "content": EVENT_STREAM}},
)
async def events(
    job: JobId,
    desk: TheDesk,
    previews: Annotated[
        Literal["none", "all"] | int, Query(description="Of which steps to send pictures: none, all, or so many.")
    ] = "none",
) -> StreamingResponse:
    """Follow a job by server-sent events: `job`, `step`, `preview`, `output`, and `job` again when it is over.

    A reader that is slow misses steps and previews, nothing else.
    """
    desk.entry(job)
    return StreamingResponse(_events(job, desk, chosen(previews)), media_type="text/event-stream")


@router.get(
    "/jobs/{job}/outputs/{index}",
    operation_id="get_output",
    response_class=FileResponse,
    responses=ERRORS | {200: {"description": "The file.", "content": _MEDIA}},
)
def output(job: JobId, index: int, desk: TheDesk, download: bool = False) -> FileResponse:
    """The file of a finished output, with its record."""
    made = made_of(desk, job, index)
    name = f"{job}-{made.file}" if download else None
    return FileResponse(desk.jobs.path(job, made.file), filename=name, headers={"etag": f'"{made.sha256}"'})


@router.get(
    "/jobs/{job}/outputs/{index}/steps/{i}/{what}",
    operation_id="get_step",
    response_class=FileResponse,
    responses=ERRORS | {200: {"description": "The picture.", "content": {"image/webp": _MEDIA["image/webp"]}}},
)
def step(job: JobId, index: int, i: int, what: Literal["noisy", "clean"], desk: TheDesk) -> FileResponse:
    """A step of an output whose steps are kept: the noisy state, or the estimate of the clean picture."""
    made = made_of(desk, job, index)
    if not 0 <= i < made.steps:
        raise NotFound(f"step {i} of this output is not kept")
    return FileResponse(desk.jobs.path(job, step_name(index, i, what)), media_type="image/webp")


def made_of(desk: Desk, job: str, index: int) -> Made:
    """A finished output; NotFound if there is none."""
    desk.entry(job)
    made = next((one for one in desk.jobs.outputs(job) if one.index == index), None)
    if made is None or not desk.jobs.path(job, made.file).is_file():
        raise NotFound(f"the job has no finished output {index}")
    return made


def with_uploads(body: Mapping[str, object]) -> dict[str, object]:
    """The options of a JSON body, its pictures as bytes."""
    given = {name: from_base64(body[name], name) for name in PICTURES if body.get(name) is not None}
    return {**body, **given}


def chosen(previews: Literal["none", "all"] | int) -> Wants | None:
    """Which steps to make previews of; so many are spread evenly."""
    if previews in ("none", 0):
        return None
    if previews == "all" or not isinstance(previews, int):
        return lambda i, n: True
    return lambda i, n: i in {round(k * n / (previews + 1)) for k in range(1, previews + 1)}


def data_url(image: Image.Image) -> str:
    """A preview as a data URL."""
    stream = BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


async def _events(job: str, desk: Desk, wants: Wants | None) -> AsyncIterator[str]:
    async with desk.following(job, wants) as follower:
        entry = desk.jobs.entry(job)
        if entry is None:
            return
        yield _sse("job", job_out(desk, entry).model_dump(mode="json"))
        async for text in _told(follower, job, desk):
            yield text


async def _told(follower: Follower, job: str, desk: Desk) -> AsyncIterator[str]:
    async for event in follower:
        match event:
            case Moved():
                standing = desk.jobs.standing(job)
                left = None if standing is None else standing.seconds
                yield _sse("step", {"i": event.i, "n": event.n, "progress": event.progress, "seconds_left": left})
            case Preview():
                picture = {"index": event.index, "i": event.i, "n": event.n, "image": data_url(event.image)}
                yield _sse("preview", picture)
            case Ready():
                yield _sse("output", output_out(job, event.made).model_dump(mode="json"))
            case Changed():
                if (entry := desk.jobs.entry(job)) is not None:
                    yield _sse("job", job_out(desk, entry).model_dump(mode="json"))


def _sse(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _allowed(webhook: object, desk: Desk) -> str | None:
    """The address to call; RequestError unless the operator has allowed its host."""
    if webhook is None:
        return None
    try:
        parts = urlsplit(webhook) if isinstance(webhook, str) and len(webhook) <= 2000 else None
        host = None if parts is None or parts.scheme not in ("http", "https") else parts.hostname
    except ValueError:
        host = None
    if host is None or host not in desk.settings.webhook_hosts:
        raise RequestError("webhook must be an http(s) address of a host that the operator allowed", option="webhook")
    return str(webhook)
