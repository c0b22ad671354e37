"""The desk: what every interface does with a client's request, without knowing how anything is drawn."""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from fastapi import Depends, Request

from scorefield.errors import MachineError, RequestError
from scorefield.files.open_picture import PictureError, open_picture, reading
from scorefield.queue.entry import Entry, State, Wish
from scorefield.queue.feed import Changed, Follower, Wants
from scorefield.queue.jobs import Jobs
from scorefield.queue.ledger import PICTURES
from scorefield.request import ModelChoice, parse
from scorefield.request import Request as Asked
from scorefield.server.answers import NotFound
from scorefield.server.metrics import Metrics
from scorefield.server.settings import Settings

_DATA_URL = re.compile(r"data:[\w.+-]*/?[\w.+-]*;base64,", re.ASCII)
STOPPING = "the server is stopping; it goes on with the job when it is started again"
_NOT_OURS = frozenset(ModelChoice.model_fields) - {"model"}  # the operator's to choose


class Desk:
    """The jobs and settings of a server, for its interfaces."""

    def __init__(self, jobs: Jobs, settings: Settings) -> None:
        self.jobs, self.settings, self.metrics = jobs, settings, Metrics()

    async def submit(self, values: Mapping[str, object], wish: Wish) -> Entry:
        """Accept a job of an option list, whose pictures are bytes; errors as in `parsed` and `Jobs.submit`."""
        request = await asyncio.to_thread(self.parsed, values)  # reads the pictures' headers
        entry = await asyncio.to_thread(self.jobs.submit, request, wish)
        self.metrics.accepted(entry)
        return entry

    def parsed(self, values: Mapping[str, object]) -> Asked:
        """The request of an option list; RequestError for what is wrong in it, or is not the client's to choose."""
        if refused := next((name for name in values if name in _NOT_OURS), None):
            raise RequestError(f"{refused} is chosen by the server's operator", option=refused)
        for name in PICTURES:
            self.check_picture(name, values.get(name))
        return parse(values)

    def entry(self, job: str) -> Entry:
        """A job; NotFound if there is none."""
        entry = self.jobs.entry(job)
        if entry is None:
            raise NotFound(f"there is no job {job[:80]!r}")
        return entry

    @asynccontextmanager
    async def following(self, job: str, wants: Wants | None = None) -> AsyncIterator[Follower]:
        """Follow a job. Earlier events are not repeated: read the entry after entering."""
        follower = self.jobs.feed.follow(job, wants)
        try:
            entry = self.jobs.entry(job)
            if entry is not None and entry.state.is_final:
                follower.put(Changed(job=job, state=entry.state, error=entry.error))
            yield follower
        finally:
            self.jobs.feed.leave(follower)

    async def finished(self, job: str, request: Request) -> Entry:
        """Wait until a job is over; if its client goes away first, it is cancelled.

        MachineError if the server stops first; the job stays in the queue.
        """
        async with self.following(job) as follower:
            over = asyncio.ensure_future(_until_over(follower))
            gone = asyncio.ensure_future(_disconnected(request))
            try:
                await asyncio.wait({over, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not over.done():
                    await asyncio.to_thread(self.jobs.cancel, job)
            finally:
                for task in (over, gone):
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
        entry = self.entry(job)
        if not entry.state.is_final:
            raise MachineError(STOPPING)
        return entry

    def check_picture(self, name: str, value: object) -> None:
        """RequestError unless a picture is bytes, PictureError if they are too many pixels or not a picture."""
        if value is None:
            return
        if not isinstance(value, bytes):
            raise RequestError(f"{name} must be a picture's bytes in base64", option=name)
        most = self.settings.most_input_pixels
        with reading(name), open_picture(value, name) as image:
            if image.width * image.height > most:
                raise PictureError(f"{name} has {image.width} x {image.height} pixels; at most {most} are allowed")


def get_desk(request: Request) -> Desk:
    """The desk of the server."""
    desk: Desk = request.app.state.desk
    return desk


TheDesk = Annotated[Desk, Depends(get_desk)]


def client_of(request: Request, label: str = "") -> str:
    """Whose turn a request is on: its address, with the name that the client gives itself."""
    address = request.client.host if request.client is not None else ""
    name = label or request.headers.get("x-scorefield-client", "")
    return f"{address} {name[:64]}".strip()


def from_base64(text: object, name: str) -> bytes:
    """The bytes of a base64 text or data URL; RequestError for anything else, an address of a picture included."""
    if not isinstance(text, str):
        raise RequestError(f"{name} must be a picture in base64", option=name)
    match = _DATA_URL.match(text[:200])
    data = text[match.end() :] if match else text
    if data[:8].lower().startswith(("http:", "https:", "file:", "ftp:")):
        raise RequestError(f"{name} must be a picture in base64; this server fetches no addresses", option=name)
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"{name} is not base64", option=name) from None


async def json_object(request: Request) -> dict[str, object]:
    """The JSON object that a request's body is; RequestError for anything else."""
    body = await request.body()
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {str(error)[:120]}") from None
    if not isinstance(value, dict):
        raise RequestError(f"the body must be a JSON object, not {type(value).__name__}")
    return value


def failed(entry: Entry) -> str:
    """Why a job that is over has not all its outputs."""
    return entry.error or ("the job was cancelled" if entry.state is State.CANCELLED else "the job failed")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


async def _until_over(follower: Follower) -> None:
    async for _ in follower:
        pass


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
