"""What follows the end of a job: it is counted, and its web-hook is called."""

import asyncio
import json
import logging

import httpx

from scorefield.queue.entry import Entry
from scorefield.server.desk import Desk
from scorefield.server.jobs_api import job_out

_LOG = logging.getLogger("scorefield.server")
_TRIES, _PAUSE, _TIMEOUT = 4, 2.0, 10.0  # tries, and seconds


class Endings:
    """Waits for jobs to end. A web-hook that fails is tried again, and then given up."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._calls: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Watch until cancelled."""
        loop, ended = asyncio.get_running_loop(), asyncio.Queue[str]()
        self._desk.jobs.on_end = lambda job: loop.call_soon_threadsafe(ended.put_nowait, job)
        try:
            while True:
                entry = self._desk.jobs.entry(await ended.get())
                if entry is not None:
                    self._ended(entry)
        finally:
            self._desk.jobs.on_end = None
            for call in self._calls:
                call.cancel()

    def _ended(self, entry: Entry) -> None:
        self._desk.metrics.over(entry)
        if entry.wish.webhook is not None:
            call = asyncio.create_task(self._call(entry, entry.wish.webhook))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _call(self, entry: Entry, address: str) -> None:
        body = json.dumps(job_out(self._desk, entry).model_dump(mode="json")).encode()
        headers = {"content-type": "application/json"}
        async with httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, trust_env=False) as client:
            for number in range(_TRIES):
                try:
                    answer = await client.post(address, content=body, headers=headers)
                except httpx.HTTPError as error:
                    reason = type(error).__name__
                else:
                    if answer.is_success:
                        return
                    reason = str(answer.status_code)
                await asyncio.sleep(_PAUSE * 2**number)
        _LOG.warning("a web-hook was given up", extra={"job": entry.id, "reason": reason})
