"""Streams of the OpenAI interface: real previews of the predicted clean picture, and then the picture."""

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal

from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from scorefield.queue.entry import Entry, Made, State
from scorefield.queue.feed import Preview, Ready
from scorefield.server.desk import Desk
from scorefield.server.jobs_api import chosen
from scorefield.server.openai_fields import GenerationFields
from scorefield.server.openai_pictures import output_bytes, preview
from scorefield.server.openai_queue import failure, tokens_of
from scorefield.server.openai_shapes import CompletedOut, PartialOut, size_of, usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """A job whose client wants to see it."""

    kind: Literal["image_generation", "image_edit"]
    fields: GenerationFields
    entry: Entry


class _Closing(StreamingResponse):
    """A stream whose generator is closed with it, however it ends."""

    def __init__(self, events: AsyncGenerator[str], headers: dict[str, str]) -> None:
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


async def streamed(asked: Streamed, desk: Desk) -> StreamingResponse:
    """The answer that follows a job. If its client goes away, the job is cancelled."""
    events = _events(asked, desk)
    await anext(events)
    headers = {"x-request-id": asked.entry.id, "cache-control": "no-store"}
    return _Closing(events, headers)


async def _events(asked: Streamed, desk: Desk) -> AsyncGenerator[str]:
    """Events as text; the first is empty, and comes once the job is followed."""
    job, partials, sent = asked.entry.id, Counter[int](), set[int]()
    try:
        async with desk.following(job, chosen(asked.fields.partial_images)) as follower:
            yield ""
            async for event in follower:
                match event:
                    case Preview(index=index):
                        yield _sse(await _partial(asked, event, partials[index]))
                        partials[index] += 1
                    case Ready(made=made):
                        sent.add(made.index)
                        yield _sse(await _completed(asked, made, desk))
                    case _:
                        pass
        entry = desk.entry(job)
        if entry.state is not State.DONE:
            yield f"event: error\ndata: {json.dumps({'type': 'error', **failure(entry)})}\n\n"
            return
        for made in desk.jobs.outputs(job):  # what was finished before it was followed
            if made.index not in sent:
                yield _sse(await _completed(asked, made, desk))
    except BaseException:  # its client has gone: closed, or its task cancelled, so nothing can be awaited here
        desk.jobs.cancel(job)
        raise


async def _partial(asked: Streamed, event: Preview, number: int) -> PartialOut:
    fields = asked.fields
    return PartialOut(
        type=f"{asked.kind}.partial_image",
        b64_json=await asyncio.to_thread(preview, event.image, fields.output_format, fields.output_compression),
        created_at=int(time.time()),
        output_format=fields.output_format,
        partial_image_index=number,
        quality=fields.called,
        size=size_of(asked.entry),
        output_index=event.index,
    )


async def _completed(asked: Streamed, made: Made, desk: Desk) -> CompletedOut:
    fields = asked.fields
    data = await asyncio.to_thread(
        output_bytes, desk, asked.entry, made, fields.output_format, compression=fields.output_compression,
        frames=1, seconds=1.0,
    )  # fmt: skip
    return CompletedOut(
        type=f"{asked.kind}.completed",
        b64_json=base64.b64encode(data).decode(),
        created_at=int(time.time()),
        output_format=fields.output_format,
        quality=fields.called,
        safety_identifier=fields.who or None,
        size=size_of(asked.entry),
        usage=usage(await tokens_of(desk, asked.entry)),
        output_index=made.index,
        seed=str(made.seed),
    )


def _sse(event: BaseModel) -> str:
    data = event.model_dump(mode="json")
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n"
