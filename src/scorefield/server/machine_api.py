"""What the server has and how it fares: models, plans, words, health, metrics."""

import asyncio
import hmac
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

from scorefield import __version__
from scorefield.core import grid
from scorefield.errors import RequestError, ScorefieldError
from scorefield.request import Request as Asked
from scorefield.request import parse
from scorefield.sample import samplers
from scorefield.server.described import ERRORS, JOB_BODY
from scorefield.server.desk import Desk, TheDesk, json_object
from scorefield.server.guard import COOKIE
from scorefield.server.jobs_api import with_uploads
from scorefield.server.metrics import CONTENT_TYPE

router = APIRouter(tags=["server"])


class ModelOut(BaseModel):
    """A model by the name that requests give."""

    name: str
    ships: bool = Field(description="Whether it comes with the program.")
    loaded: bool
    about: str
    knows: dict[str, list[str]] = Field(description="Phrases of its training captions, by kind.")


class ModelsOut(BaseModel):
    """What requests may name."""

    models: list[ModelOut]
    samplers: list[str]
    schedules: list[str]


class ModelOptions(BaseModel):
    """What a model takes."""

    name: str
    options: list[str]
    defaults: dict[str, object] = Field(description="A complete request; empty if the model needs a picture.")
    size_multiple: int | None


class WordsIn(BaseModel):
    """A prompt to count."""

    model: str = "scenes"
    prompt: Annotated[str, Field(max_length=10_000)]


class WordsOut(BaseModel):
    """How a model reads a prompt."""

    tokens: int
    room: int = Field(description="Tokens that fit in a chunk.")
    chunks: int
    unknown: dict[str, list[str]] = Field(description="Words that it never saw, each with the nearest that it knows.")


class PlanOut(BaseModel):
    """What a job would take."""

    request: dict[str, object]
    peak_bytes: int
    available_bytes: int | None
    fits: bool
    suggestions: list[str]
    seconds: float | None = Field(description="Time to draw, without waiting; null until the model has drawn here.")
    notes: list[str]


@router.get("/models", responses=ERRORS)
def models(desk: TheDesk) -> ModelsOut:
    """List the models, samplers and schedules."""
    shelf = desk.jobs.shelf
    loaded, specs = shelf.loaded(), shelf.specs()
    return ModelsOut(
        models=[
            ModelOut(
                name=name,
                ships=name in specs,
                loaded=name in loaded,
                about=specs[name].about if name in specs else "",
                knows={kind: list(phrases) for kind, phrases in specs[name].knows.items()} if name in specs else {},
            )
            for name in shelf.names()
        ],
        samplers=[record.name for record in samplers.SAMPLERS],
        schedules=list(grid.SCHEDULES),
    )


@router.get("/models/{name}", responses=ERRORS)
def model(name: str, desk: TheDesk) -> ModelOptions:
    """Tell which options a model takes, and what it does without them."""
    shelf = desk.jobs.shelf
    options = shelf.options(name)
    try:
        defaults = shelf.plan(parse({"model": name, "prompts": "", "seed": 0})).request.model_dump(mode="json")
    except RequestError:
        defaults = {}
    spec = shelf.specs().get(name)
    multiple = None if spec is None else spec.size_multiple
    return ModelOptions(name=name, options=options, defaults=defaults, size_multiple=multiple)


@router.post("/words", responses=ERRORS)
def words(asked: WordsIn, desk: TheDesk) -> WordsOut:
    """Count the tokens of a prompt, and name the words that a model never saw."""
    prompt = parse({"model": asked.model, "prompts": asked.prompt}).prompts[0]
    count, unknown = desk.jobs.shelf.read(asked.model, prompt)
    known = {word: list(near) for word, near in unknown.items()}
    return WordsOut(tokens=count.tokens, room=count.room, chunks=count.chunks, unknown=known)


@router.post("/plan", responses=ERRORS, openapi_extra=JOB_BODY)
async def plan(request: Request, desk: TheDesk) -> PlanOut:
    """Decide a request without drawing it: defaults, memory, time, remarks."""
    body = with_uploads(await json_object(request))
    asked = desk.parsed({name: value for name, value in body.items() if name not in ("keep_steps", "webhook")})
    return await asyncio.to_thread(_planned, desk, asked)


def _planned(desk: Desk, asked: Asked) -> PlanOut:
    found = desk.jobs.outlook(asked)
    request = found.plan.request
    return PlanOut(
        request=request.model_dump(mode="json") | {"seed": str(request.seed), "model": asked.model},
        peak_bytes=found.forecast.peak_bytes,
        available_bytes=found.available_bytes,
        fits=found.fits,
        suggestions=list(found.suggestions),
        seconds=desk.jobs.seconds(asked.model, request),
        notes=[note.text for note in found.plan.notes],
    )


@router.get("/health/live")
def live() -> dict[str, str]:
    """Answer while the process runs."""
    return {"status": "ok", "version": __version__}


@router.get("/health/ready", responses={503: {"description": "It draws nothing now."}})
def ready(desk: TheDesk) -> JSONResponse:
    """Answer 200 while jobs are accepted and drawn."""
    try:
        desk.jobs.check_ready()
    except ScorefieldError as error:
        return JSONResponse({"status": "not ready", "reason": str(error)}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/metrics", responses=ERRORS, response_class=PlainTextResponse)
def metrics(desk: TheDesk) -> PlainTextResponse:
    """Counters and gauges in Prometheus' text format."""
    return PlainTextResponse(desk.metrics.text(desk.jobs), media_type=CONTENT_TYPE)


@router.post("/session", status_code=204, responses=ERRORS, include_in_schema=False)
async def session(request: Request, desk: TheDesk) -> Response:
    """Exchange the API key for a cookie, which pictures of the page need."""
    key, given = desk.settings.api_key, (await json_object(request)).get("key")
    if key is not None and not (isinstance(given, str) and hmac.compare_digest(given.encode(), key.encode())):
        raise RequestError("the key is wrong", option="key")
    answer = Response(status_code=204)
    answer.set_cookie(COOKIE, key or "", httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer
