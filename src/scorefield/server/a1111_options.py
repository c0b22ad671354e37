"""The options of the AUTOMATIC1111 interface: which model it draws with, and the form of what it sends."""

import asyncio
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Body, Depends, HTTPException, Request

from scorefield.errors import RequestError
from scorefield.queue.shelf import Shelf, UnknownModelError
from scorefield.server.a1111_fields import ERRORS, Anything
from scorefield.server.desk import TheDesk

router = APIRouter(prefix="/sdapi/v1", tags=["AUTOMATIC1111"])

Format = Literal["png", "jpg", "jpeg", "webp"]
_FORMATS = ("png", "jpg", "jpeg", "webp")
_MODEL, _SKIP, _FORMAT, _QUALITY = "sd_model_checkpoint", "CLIP_stop_at_last_layers", "samples_format", "jpeg_quality"
_DEFAULTS: Mapping[str, object] = {
    _SKIP: 1, _FORMAT: "png", _QUALITY: 80, "return_grid": True, "sd_vae": "Automatic", "sd_checkpoint_hash": "",
    "eta_noise_seed_delta": 0, "live_previews_enable": True,
}  # fmt: skip
_OFF: Mapping[str, tuple[object, ...]] = {  # options that would change pictures, with the values that do not
    "sd_vae": (None, "", "None", "Automatic", "auto"),
    "sd_hypernetwork": (None, "", "None"),
    "eta_noise_seed_delta": (None, 0),
}
_MOST, _LONGEST = 300, 2000  # options that are kept, and letters of one
_HASH = re.compile(r" \[[0-9a-f]{6,64}\]$")
_ENDINGS = (".safetensors", ".ckpt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The options that a job heeds."""

    model: str
    clip_skip: int
    form: Format
    quality: int
    return_grid: bool


class Options:
    """The options of one server, in memory. Threads may share it."""

    def __init__(self) -> None:
        self._values: dict[str, object] = dict(_DEFAULTS)
        self._lock = threading.Lock()

    def all(self, shelf: Shelf) -> dict[str, object]:
        """Every option; the model is the first of the shelf until one is chosen."""
        with self._lock:
            return {_MODEL: shelf.names()[0], **self._values}

    def change(self, values: Mapping[str, object], shelf: Shelf) -> None:
        """Keep options; RequestError for what would change pictures and is not offered, UnknownModelError."""
        checked = _checked(values, shelf)
        with self._lock:
            if len(self._values | checked) > _MOST:
                raise RequestError(f"at most {_MOST} options are kept")
            self._values |= checked

    def chosen(self, overrides: Mapping[str, object], shelf: Shelf) -> Chosen:
        """What a job with these `override_settings` heeds; errors as in `change`."""
        values = self.all(shelf) | _checked(overrides, shelf)
        return Chosen(
            model=str(values[_MODEL]),
            clip_skip=cast(int, values[_SKIP]),
            form=cast(Format, values[_FORMAT]),
            quality=cast(int, values[_QUALITY]),
            return_grid=values["return_grid"] is not False,
        )


def get_options(request: Request) -> Options:
    """The options of the server."""
    options: Options = request.app.state.a1111_options
    return options


TheOptions = Annotated[Options, Depends(get_options)]


def named(title: str, shelf: Shelf) -> str:
    """The model of a title, which may have a folder before the name, and an ending and a hash behind it.

    UnknownModelError if there is none.
    """
    names = shelf.names()
    last = re.split(r"[/\\]", _HASH.sub("", title))[-1]
    stem = next((last.removesuffix(one) for one in _ENDINGS if last.endswith(one)), last)
    found = next((one for one in (title, last, stem) if one in names), None)
    if found is None:
        raise UnknownModelError(f"model {title[:80]!r} not found; there are {', '.join(names)}")
    return found


def _checked(values: Mapping[str, object], shelf: Shelf) -> dict[str, object]:
    """Options whose values are allowed; nulls of those that a job heeds are left out."""
    checked: dict[str, object] = {}
    for name, value in values.items():
        if value not in _OFF.get(name, (value,)):
            raise RequestError(f"{name} {str(value)[:60]!r} is not supported here; leave it out", option=name)
        if value is None and name in (_MODEL, _SKIP, _FORMAT, _QUALITY):
            continue
        checked[name] = _one(name, value, shelf)
    return checked


def _one(name: str, value: object, shelf: Shelf) -> object:
    if name == _MODEL and isinstance(value, str):
        return named(value, shelf)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if name == _SKIP and not (whole and 0 <= cast(int, value) <= 32):
        raise RequestError(f"{name} must be a whole number from 1 to 32", option=name)
    if name == _QUALITY and not (whole and 1 <= cast(int, value) <= 100):
        raise RequestError(f"{name} must be a whole number from 1 to 100", option=name)
    if name == _FORMAT and value not in _FORMATS:
        raise RequestError(f"{name} must be one of {', '.join(_FORMATS)}", option=name)
    if name == _MODEL or len(name) > 100 or len(json.dumps(value)) > _LONGEST:
        raise RequestError(f"{name[:60]} has a value of the wrong kind, or too long a one", option=name[:100])
    return max(1, cast(int, value)) if name == _SKIP else value  # 0 and 1 are the last block


@router.get("/options", responses=ERRORS)
def options(desk: TheDesk, options: TheOptions) -> dict[str, object]:
    """Every option."""
    return options.all(desk.jobs.shelf)


@router.post("/options", responses=ERRORS)
def set_options(values: Annotated[Anything, Body()], desk: TheDesk, options: TheOptions) -> None:
    """Change options until the server stops; sd_model_checkpoint chooses the model. Most others have no effect."""
    options.change(values, desk.jobs.shelf)


@router.post("/refresh-checkpoints", responses=ERRORS)
@router.post("/refresh-vae", responses=ERRORS)
@router.post("/refresh-loras", responses=ERRORS)
def refresh() -> None:
    """Do nothing: the folders of models are read whenever models are listed."""


@router.post("/unload-checkpoint", responses=ERRORS)
def unload(desk: TheDesk, options: TheOptions) -> dict[str, object]:
    """Free the memory of the chosen model; it is loaded again when it is needed."""
    desk.jobs.shelf.unload(options.chosen({}, desk.jobs.shelf).model)
    return {}


@router.post("/reload-checkpoint", responses=ERRORS)
async def reload(desk: TheDesk, options: TheOptions) -> dict[str, object]:
    """Load the chosen model."""
    shelf = desk.jobs.shelf
    await asyncio.to_thread(shelf.system, options.chosen({}, shelf).model)
    return {}


@router.post("/server-kill", status_code=403, responses=ERRORS)
@router.post("/server-restart", status_code=403, responses=ERRORS)
@router.post("/server-stop", status_code=403, responses=ERRORS)
def stop() -> None:
    """Refuse: the operator starts and stops this server."""
    raise HTTPException(403, "this server is stopped by its operator, not by clients")
