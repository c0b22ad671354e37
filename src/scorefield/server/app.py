"""The application: all interfaces behind one guard, and the worker that draws."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from scorefield import __version__
from scorefield.queue.jobs import Jobs
from scorefield.queue.worker import Worker
from scorefield.server import (
    a1111_draw,
    a1111_extras,
    a1111_lists,
    a1111_options,
    a1111_progress,
    jobs_api,
    lab_api,
    machine_api,
    openai_images,
    openai_models,
    openai_videos,
    page_files,
    plane_api,
    records_api,
)
from scorefield.server.answers import add_handlers
from scorefield.server.desk import Desk
from scorefield.server.ending import Endings
from scorefield.server.guard import Guard
from scorefield.server.lab_api import Runs
from scorefield.server.plane_api import Planes
from scorefield.server.settings import Settings

_FACES = (
    jobs_api, machine_api, plane_api, lab_api, records_api, page_files,
    openai_images, openai_models, openai_videos,
    a1111_draw, a1111_extras, a1111_lists, a1111_options, a1111_progress,
)  # fmt: skip
_LOG = logging.getLogger("scorefield.server")
_TIDY_SECONDS = 600.0
_ABOUT = "Pictures and films from words, as jobs that one can follow, stop, and draw again."


def build(jobs: Jobs, settings: Settings) -> FastAPI:
    """The application for the jobs of a folder; its worker runs while the application does."""
    desk = Desk(jobs, settings)
    app = FastAPI(
        title="scorefield", version=__version__, description=_ABOUT, lifespan=_life, docs_url=None, redoc_url=None
    )
    app.state.desk = desk
    add_handlers(app)
    app.state.planes, app.state.runs = Planes(), Runs(jobs.folder.path / "lab")
    app.state.a1111_options = a1111_options.Options()
    app.state.routers = tuple(face.router for face in _FACES)
    for router in app.state.routers:
        app.include_router(router)
    app.add_middleware(Guard, settings=settings)
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    desk: Desk = app.state.desk
    worker, endings = Worker(desk.jobs), Endings(desk)
    worker.start()
    tasks = [asyncio.create_task(_tidy(desk.jobs)), asyncio.create_task(endings.watch())]
    try:
        yield
    finally:
        desk.jobs.close()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(app.state.planes.close)
        await asyncio.to_thread(app.state.runs.close)
        await asyncio.to_thread(worker.join)
        desk.jobs.folder.close()


async def _tidy(jobs: Jobs) -> None:
    """Delete old jobs now and then."""
    while True:
        if count := await asyncio.to_thread(jobs.tidy):
            _LOG.info("deleted old jobs", extra={"count": count})
        await asyncio.sleep(_TIDY_SECONDS)
