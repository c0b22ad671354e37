"""What pictures say about themselves: settings to take from a file, the walk of an output, what a job was given."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from PIL import Image
from pydantic import BaseModel, Field

from scorefield.api.replay import read_record
from scorefield.errors import DamagedError, RequestError
from scorefield.files.open_picture import FORMATS, PictureError, open_picture, reading
from scorefield.files.parameters import Parameters
from scorefield.files.picture import History, history_of, read_history
from scorefield.queue.ledger import PICTURES
from scorefield.request import SEEDS, InputImage, ModelChoice, parse
from scorefield.sample.samplers import find_a1111
from scorefield.server.answers import NotFound
from scorefield.server.described import ERRORS
from scorefield.server.desk import TheDesk
from scorefield.server.jobs_api import JobId, made_of

router = APIRouter(tags=["records"])
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FILE = {"application/octet-stream": _BYTES}
_PICTURE = {Image.MIME[form]: _BYTES for form in FORMATS}


class SettingsOut(BaseModel):
    """The settings that a file records."""

    format: str
    width: int
    height: int
    source: Literal["scorefield", "AUTOMATIC1111"] | None = Field(description="Whose record it is; null for none.")
    settings: dict[str, object] = Field(description="Options of a job.")
    notes: list[str] = Field(description="What of the record is left out, in a line each.")


class WalkOut(BaseModel):
    """The noise levels that an output's walk visited."""

    levels: list[tuple[float, float]] | None = Field(
        description="(alpha, sigma) of steps 0 to n; null if it is not recorded."
    )


@router.post("/read", responses=ERRORS, openapi_extra={"requestBody": {"required": True, "content": _FILE}})
async def read(request: Request, desk: TheDesk) -> SettingsOut:
    """Read the settings in a picture's or film's record, ours or AUTOMATIC1111's; the body is the file."""
    data = await request.body()
    history = await asyncio.to_thread(history_of, data, "the file")
    notes: list[str] = []
    settings, source = _settings(history, notes)
    model = settings.get("model")
    if model is not None and model not in desk.jobs.shelf.names():
        notes.append(f"the model {str(settings.pop('model'))[:80]!r} is not on this server")
    return SettingsOut(
        format=history.format, width=history.width, height=history.height, source=source, settings=settings, notes=notes
    )


@router.get("/jobs/{job}/outputs/{index}/walk", responses=ERRORS)
def walk(job: JobId, index: int, desk: TheDesk) -> WalkOut:
    """Tell the noise levels that an output's walk visited."""
    made = made_of(desk, job, index)
    history = read_history(desk.jobs.path(job, made.file))
    return WalkOut.model_validate({"levels": (history.ours or {}).get("levels")})


@router.get(
    "/jobs/{job}/given/{name}",
    response_class=Response,
    responses=ERRORS | {200: {"description": "The picture.", "content": _PICTURE}},
)
def given(job: JobId, name: Literal["image", "last_image", "mask", "image_prompt"], desk: TheDesk) -> Response:
    """A picture that a job was given, as it was given."""
    request = desk.jobs.folder.with_inputs(desk.entry(job).request)
    picture: InputImage | None = getattr(request, name)
    if picture is None or picture.data is None:
        raise NotFound(f"the job was given no {name}")
    with reading(name), open_picture(picture.data, name) as image:
        kind = Image.MIME[image.format or ""]
    return Response(picture.data, media_type=kind)


def _settings(
    history: History, notes: list[str]
) -> tuple[dict[str, object], Literal["scorefield", "AUTOMATIC1111"] | None]:
    """The settings of a record, and whose it is; what is left out is noted."""
    if history.ours is not None:
        return _of_ours(history.ours, notes), "scorefield"
    if history.a1111 is not None and history.a1111.pairs:
        return _of_a1111(history.a1111, notes), "AUTOMATIC1111"
    return {}, None


def _of_ours(record: Mapping[str, object], notes: list[str]) -> dict[str, object]:
    try:
        found = read_record(dict(record))
    except DamagedError as error:
        raise PictureError(f"the file has {error}") from None
    dumped = found.request.model_dump(mode="json", exclude=set(PICTURES))
    notes += [f"the {name} is not in the file" for name in PICTURES if getattr(found.request, name) is not None]
    settings = {name: value for name, value in dumped.items() if value is not None and name not in _MACHINE}
    if found.request.image is None:
        settings = {name: value for name, value in settings.items() if name not in ("strength", "exact_steps")}
    prompts, seed = found.request.prompts, found.request.seed or 0
    prompt = prompts[min(found.index // found.request.count, len(prompts) - 1)]
    return {**settings, "prompts": [prompt], "seed": str((seed + found.index) % SEEDS), "count": 1}


_MACHINE = frozenset(ModelChoice.model_fields) - {"model"}  # the operator's to choose


def _of_a1111(parameters: Parameters, notes: list[str]) -> dict[str, object]:
    pairs = parameters.pairs
    found: dict[str, object] = {"prompts": [parameters.prompt], "negative_prompt": parameters.negative_prompt}
    for name, (option, kind) in _PAIRS.items():
        if name in pairs:
            try:
                found |= {option: kind(pairs[name])}
            except ValueError:
                notes.append(f"{name} {pairs[name][:40]!r} is not understood")
    if "Sampler" in pairs:
        try:
            record, schedule = find_a1111(pairs["Sampler"], pairs.get("Schedule type"))
            found |= {"sampler": record.name, "schedule": schedule}
        except RequestError as error:
            notes.append(str(error))
    width, _, height = pairs.get("Size", "").partition("x")
    if width.isdigit() and height.isdigit():
        found |= {"width": int(width[:9]), "height": int(height[:9])}
    try:
        parse({name: value for name, value in found.items() if name != "model"})
    except RequestError as error:
        raise PictureError(f"the file has settings that cannot be used: {error}") from None
    return found


def _seed(text: str) -> str:
    return str(int(text))


_PAIRS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "Steps": ("steps", int),
    "CFG scale": ("cfg_scale", float),
    "Seed": ("seed", _seed),
    "Clip skip": ("clip_skip", int),
    "Model": ("model", str),
}
