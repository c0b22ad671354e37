"""How requests end before their job does: the client leaves, another cancels it, the server stops."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.servers import read_events, serving

from scorefield.queue.entry import Entry, State

GENERATE = "/v1/images/generations"
TREE = {"prompt": "a tree in the desert", "seed": 7}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("server")) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_its_job(server: TestClient, stream: bool) -> None:
    entry = server.portal.call(_left_alone, server, TREE | {"steps": 150, "stream": stream})
    assert entry.state is State.CANCELLED


def test_a_client_that_reads_no_more_before_it_goes_away_ends_its_job_at_once(server: TestClient) -> None:
    async def leave(server: TestClient) -> State:
        body = TREE | {"steps": 150, "stream": True, "partial_images": 3}
        request = asyncio.create_task(_posted(server, body, gone := asyncio.Event(), stuck=True))
        (job,) = await _unfinished(server.app.state.desk)
        await gone.wait()
        await request
        state: State = server.app.state.desk.entry(job).state
        return state

    assert server.portal.call(leave, server) is State.CANCELLED


@pytest.mark.parametrize("stream", [False, True])
def test_a_job_that_another_client_cancels_is_an_error(server: TestClient, stream: bool) -> None:
    body = server.portal.call(_cancelled, server, TREE | {"steps": 150, "stream": stream})
    text = body.decode()
    error = json.loads(text.partition("data: ")[2] if stream else text)["error"]
    assert (error["code"], error["message"]) == ("cancelled", "the job was cancelled")


def test_a_stream_ends_with_an_error_when_the_server_stops_and_its_job_stays(tmp_path: Path) -> None:
    async def stop(server: TestClient) -> tuple[bytes, State]:
        desk = server.app.state.desk
        request = asyncio.create_task(_posted(server, TREE | {"steps": 150, "stream": True}, asyncio.Event()))
        (job,) = await _unfinished(desk)
        desk.jobs.close()
        return await request, desk.entry(job).state

    with serving(tmp_path) as server:
        body, state = server.portal.call(stop, server)
    assert "the server is stopping" in read_events(body.decode())[-1][1]["error"]["message"]
    assert not state.is_final


async def _left_alone(server: TestClient, body: dict[str, Any]) -> Entry:
    """Post, and go away once the job is there; the job when the request has ended."""
    desk, gone = server.app.state.desk, asyncio.Event()
    request = asyncio.create_task(_posted(server, body, gone))
    (job,) = await _unfinished(desk)
    gone.set()
    await request
    entry: Entry = desk.entry(job)
    return entry


async def _cancelled(server: TestClient, body: dict[str, Any]) -> bytes:
    """Post, and cancel the job once it is there; the body of the answer."""
    desk = server.app.state.desk
    request = asyncio.create_task(_posted(server, body, asyncio.Event()))
    (job,) = await _unfinished(desk)
    desk.jobs.cancel(job)
    return await request


async def _unfinished(desk: Any) -> list[str]:
    while not (jobs := desk.jobs.unfinished()):
        await asyncio.sleep(0.01)
    return list(jobs)


async def _posted(server: TestClient, body: dict[str, Any], gone: asyncio.Event, *, stuck: bool = False) -> bytes:
    """The body that is sent in answer to a request whose client leaves when `gone` is set.

    One that is `stuck` takes nothing of the body, and leaves when the first part of it is sent.
    """
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))
        if stuck and sent[-1]:
            gone.set()
            await asyncio.Event().wait()

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": GENERATE, "raw_path": GENERATE.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await server.app(scope, receive, send)
    return b"".join(sent)
