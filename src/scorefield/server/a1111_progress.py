"""How the jobs of the AUTOMATIC1111 interface fare, and their interruption."""

import base64
import time
from io import BytesIO
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from scorefield.queue.entry import Entry, State
from scorefield.queue.feed import Preview
from scorefield.server.a1111_fields import ERRORS, FACE, Fields, Whole
from scorefield.server.desk import Desk, TheDesk
from scorefield.server.jobs_api import data_url

router = APIRouter(tags=["AUTOMATIC1111"])

_ABOUT_TASK = "The force_task_id of a job, or its id. Without it: the job that is being drawn."
TaskId = Annotated[str | None, Query(max_length=200, description=_ABOUT_TASK)]


class StateOut(BaseModel):
    """The job that is being drawn, or waits."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = Field(0, description="Pictures of the job; 0 if there is none.")
    job_timestamp: str = ""
    job_no: int = Field(0, description="Pictures that are finished.")
    sampling_step: int = 0
    sampling_steps: int = 0


class ProgressOut(BaseModel):
    """Progress, 0 to 1, and the seconds that are left; 0 where that cannot be told."""

    progress: float
    eta_relative: float
    state: StateOut
    current_image: str | None = Field(None, description="The predicted clean picture, PNG in base64.")
    textinfo: str | None = None


class TaskIn(Fields):
    """Which job a page asks about."""

    id_task: Annotated[str, Field(max_length=200)] | None = None
    id_live_preview: Whole | None = Field(-1, description="The last preview that the page has.")
    live_preview: bool | None = True


class TaskOut(BaseModel):
    """How that job fares."""

    active: bool
    queued: bool
    completed: bool
    paused: bool = False
    progress: float | None = None
    eta: float | None = None
    live_preview: str | None = Field(None, description="A data: URL.")
    id_live_preview: int = -1
    textinfo: str | None = None


class TasksOut(BaseModel):
    """Jobs that wait."""

    size: int
    tasks: list[str]


@router.get("/sdapi/v1/progress", responses=ERRORS)
def progress(desk: TheDesk, skip_current_image: bool = False, id_task: TaskId = None) -> ProgressOut:
    """Tell how the job that is being drawn fares; progress 0 and a job_count of 0 if there is none."""
    entry = _current(desk, id_task)
    if entry is None:
        return ProgressOut(progress=0, eta_relative=0, state=StateOut())
    moved, preview = desk.jobs.feed.latest(entry.id), None if skip_current_image else _preview(desk, entry)
    return ProgressOut(
        progress=_progress(desk, entry),
        eta_relative=_seconds(desk, entry) or 0.0,
        state=StateOut(
            job=_task(entry),
            job_count=entry.total,
            job_timestamp=time.strftime("%Y%m%d%H%M%S", time.localtime(entry.created)),
            job_no=entry.done,
            sampling_step=0 if moved is None else moved.i,
            sampling_steps=(entry.request.steps or 0) if moved is None else moved.n,
        ),
        current_image=None if preview is None else _base64(preview),
        textinfo=None if entry.id in desk.jobs.drawn() else "Queued...",
    )


@router.post("/internal/progress", responses=ERRORS)
def task_progress(asked: TaskIn, desk: TheDesk) -> TaskOut:
    """Tell how a job fares, by its force_task_id."""
    entry = _of_task(desk, asked.id_task)
    if entry is None or entry.state.is_final:
        return TaskOut(active=False, queued=False, completed=entry is not None, textinfo="Waiting...")
    if entry.id not in desk.jobs.drawn():
        return TaskOut(active=False, queued=True, completed=False, textinfo="Queued...")
    preview = _preview(desk, entry) if asked.live_preview is not False else None
    number = -1 if preview is None else preview.index * (preview.n + 1) + preview.i
    fresh = preview if number != asked.id_live_preview else None
    return TaskOut(
        active=True,
        queued=False,
        completed=False,
        progress=_progress(desk, entry),
        eta=_seconds(desk, entry),
        live_preview=None if fresh is None else data_url(fresh.image),
        id_live_preview=number,
    )


@router.get("/internal/pending-tasks", responses=ERRORS)
def pending_tasks(desk: TheDesk) -> TasksOut:
    """List the jobs of this interface that wait."""
    drawn = desk.jobs.drawn()
    entries = [desk.jobs.entry(job) for job in desk.jobs.unfinished(FACE) if job not in drawn]
    tasks = [_task(entry) for entry in entries if entry is not None]
    return TasksOut(size=len(tasks), tasks=tasks)


@router.post("/sdapi/v1/interrupt", responses=ERRORS)
def interrupt(desk: TheDesk, id_task: TaskId = None) -> dict[str, object]:
    """End the job that is being drawn at its next step; its client is sent what is finished."""
    _end(desk, id_task)
    return {}


@router.post("/sdapi/v1/skip", responses=ERRORS)
def skip(desk: TheDesk, id_task: TaskId = None) -> None:
    """End the job that is being drawn, as `interrupt` does: the pictures of a job are not skipped one by one."""
    _end(desk, id_task)


def _end(desk: Desk, task: str | None) -> None:
    if (entry := _current(desk, task)) is not None:
        desk.jobs.cancel(entry.id)


def _current(desk: Desk, task: str | None) -> Entry | None:
    """The unfinished job of that name, or without one: that which is being drawn, else the one that waits longest."""
    if task:
        entry = _of_task(desk, task)
    else:
        ours, drawn = desk.jobs.unfinished(FACE), set(desk.jobs.drawn())
        first = next((job for job in ours if job in drawn), next(iter(ours), None))
        entry = None if first is None else desk.jobs.entry(first)
    return None if entry is None or entry.state.is_final else entry


def _of_task(desk: Desk, task: str | None) -> Entry | None:
    """The newest job of this interface with that name or id."""
    if not task:
        return None
    entry = desk.jobs.folder.ledger.labelled(task) or desk.jobs.entry(task)
    return entry if entry is not None and entry.wish.face == FACE else None


def _task(entry: Entry) -> str:
    return entry.wish.label or entry.id


def _progress(desk: Desk, entry: Entry) -> float:
    moved = desk.jobs.feed.latest(entry.id)
    return entry.done / entry.total if moved is None else moved.progress


def _seconds(desk: Desk, entry: Entry) -> float | None:
    standing = desk.jobs.standing(entry.id)
    return None if standing is None else standing.seconds


def _preview(desk: Desk, entry: Entry) -> Preview | None:
    return desk.jobs.feed.poll_preview(entry.id) if entry.state is State.RUNNING else None


def _base64(preview: Preview) -> str:
    stream = BytesIO()
    preview.image.save(stream, "PNG", compress_level=1)
    return base64.b64encode(stream.getvalue()).decode()
