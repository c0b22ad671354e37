"""How jobs of the OpenAI interface enter the queue, and how their failure is told."""

import asyncio
import math
from collections.abc import Mapping

from fastapi.responses import JSONResponse

from scorefield.errors import RequestError, UnsupportedError
from scorefield.queue.entry import Entry, State, Wish
from scorefield.server.answers import error_body
from scorefield.server.desk import STOPPING, Desk, failed
from scorefield.server.openai_body import Refused
from scorefield.server.openai_fields import check_size


async def submitted(desk: Desk, values: Mapping[str, object], wish: Wish, share: float | None = None) -> Entry:
    """Accept a job; a `share` multiplies the steps that its model has by default. Errors as in `Desk.submit`."""
    asked, shelf = desk.parsed(values), desk.jobs.shelf
    check_size(asked, await asyncio.to_thread(shelf.size_multiple, asked.model), asked.model)
    if share is not None:
        steps = (await asyncio.to_thread(shelf.plan, asked)).request.steps
        if steps is not None:
            values = {**values, "steps": min(math.ceil(share * steps), desk.jobs.limits.steps)}
    try:
        return await desk.submit(values, wish)
    except RequestError as error:
        if error.option in ("width", "height"):
            raise Refused(str(error), option="size", code="invalid_value") from None
        raise


async def draws_films(desk: Desk, model: str) -> bool:
    """Whether a model draws films; UnknownModelError if there is none of that name."""
    return "frames" in await asyncio.to_thread(desk.jobs.shelf.options, model)


async def tokens_of(desk: Desk, entry: Entry) -> int:
    """The tokens of a job's prompt; 0 where it is read several times: by several stages, or in chunks."""
    request = entry.request
    try:
        count, _ = await asyncio.to_thread(desk.jobs.shelf.read, request.model, request.prompts[0])
    except (RequestError, UnsupportedError):
        return 0
    return count.tokens


def failure(entry: Entry) -> dict[str, object]:
    """The body that tells why a job that is followed no more has not its outputs."""
    match entry.state:
        case State.CANCELLED:
            return error_body("/v1/", 409, "cancelled", failed(entry))
        case State.FAILED:
            return error_body("/v1/", 500, "job_failed", failed(entry))
        case _:
            return error_body("/v1/", 503, "machine", STOPPING)


def failure_answer(entry: Entry) -> JSONResponse:
    """The same of a job that is over, as an answer after which the SDK does not try again."""
    status = 409 if entry.state is State.CANCELLED else 500
    return JSONResponse(failure(entry), status, {"x-should-retry": "false", "x-request-id": entry.id})
