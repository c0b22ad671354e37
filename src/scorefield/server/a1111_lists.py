"""What AUTOMATIC1111 lists: models, samplers, schedules, memory, and much that this server does not have."""

from typing import Annotated

import torch
from fastapi import APIRouter
from pydantic import BaseModel, Field

from scorefield.api import free_memory
from scorefield.core import grid
from scorefield.files import parameters
from scorefield.sample import samplers
from scorefield.server.a1111_fields import ERRORS
from scorefield.server.desk import TheDesk

router = APIRouter(prefix="/sdapi/v1", tags=["AUTOMATIC1111"])

_RHO = {"karras": 7.0, "polyexponential": 1.0}
_NO_RHO = -1.0  # AUTOMATIC1111's sign for a schedule without one
UPSCALERS = ("None", "Lanczos", "Nearest")

Empty = Annotated[list[str], Field(max_length=0, description="Always empty: this server has none.")]


class SamplerOut(BaseModel):
    """A sampler, and the schedule that "Automatic" means for it."""

    name: str
    aliases: list[str]
    options: dict[str, str]


class SchedulerOut(BaseModel):
    """A schedule."""

    name: str
    label: str
    aliases: list[str] | None
    default_rho: float
    need_inner_model: bool


class ModelOut(BaseModel):
    """A model. Its file is the operator's to know."""

    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None


class UpscalerOut(BaseModel):
    """A way to enlarge a finished picture."""

    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float | None


class EmbeddingsOut(BaseModel):
    """Learned words: this server loads none."""

    loaded: dict[str, object]
    skipped: dict[str, object]


class ScriptsOut(BaseModel):
    """Scripts: this server runs none."""

    txt2img: Empty
    img2img: Empty


class MemoryOut(BaseModel):
    """Memory in bytes."""

    ram: dict[str, int]
    cuda: dict[str, object]


@router.get("/samplers", responses=ERRORS)
def list_samplers() -> list[SamplerOut]:
    """List the samplers by AUTOMATIC1111's names."""
    return [
        SamplerOut(
            name=parameters.SAMPLERS.get(one.name, one.name),
            aliases=[one.name, *one.aliases],
            options={"scheduler": one.a1111_schedule},
        )
        for one in samplers.SAMPLERS
    ]


@router.get("/schedulers", responses=ERRORS)
def list_schedulers() -> list[SchedulerOut]:
    """List the schedules; Automatic is the sampler's own, as in AUTOMATIC1111."""
    names = {"automatic": "Automatic", **{name: parameters.SCHEDULES.get(name, name) for name in grid.SCHEDULES}}
    aliases = {name: [alias for alias, real in grid.ALIASES.items() if real == name] for name in names}
    return [
        SchedulerOut(
            name=name, label=label, aliases=aliases[name] or None, default_rho=_RHO.get(name, _NO_RHO),
            need_inner_model=False,
        )
        for name, label in names.items()
    ]  # fmt: skip


@router.get("/sd-models", responses=ERRORS)
def list_models(desk: TheDesk) -> list[ModelOut]:
    """List the models that draw pictures, as far as that is known before they are loaded."""
    shelf = desk.jobs.shelf
    films = {name for name, spec in shelf.specs().items() if spec.defaults.frames > 1}
    return [
        ModelOut(title=name, model_name=name, hash=None, sha256=None, filename=name, config=None)
        for name in shelf.names()
        if name not in films
    ]


@router.get("/upscalers", responses=ERRORS)
def list_upscalers() -> list[UpscalerOut]:
    """List the ways to enlarge a finished picture."""
    return [UpscalerOut(name=name, model_name=None, model_path=None, model_url=None, scale=4) for name in UPSCALERS]


@router.get("/embeddings", responses=ERRORS)
def list_embeddings() -> EmbeddingsOut:
    """List learned words, of which there are none."""
    return EmbeddingsOut(loaded={}, skipped={})


@router.get("/scripts", responses=ERRORS)
def list_scripts() -> ScriptsOut:
    """List scripts, of which there are none."""
    return ScriptsOut(txt2img=[], img2img=[])


@router.get("/memory", responses=ERRORS)
def memory() -> MemoryOut:
    """Tell how much memory this process has and may have."""
    used, total = free_memory.resident(), free_memory.available(torch.device("cpu"))
    ram = {"used": used} if total is None else {"free": total - used, "used": used, "total": total}
    if not torch.cuda.is_available():
        return MemoryOut(ram=ram, cuda={"error": "unavailable"})
    free, whole = torch.cuda.mem_get_info()
    return MemoryOut(ram=ram, cuda={"system": {"free": free, "used": whole - free, "total": whole}})


@router.get("/cmd-flags", responses=ERRORS)
def flags(desk: TheDesk) -> dict[str, bool | int | None]:
    """List the flags of a command line that would start AUTOMATIC1111 as this server is."""
    settings = desk.settings
    return {"api": True, "nowebui": False, "listen": not settings.is_local, "port": settings.port, "api_auth": None,
            "api_server_stop": False}  # fmt: skip


def _empty() -> list[str]:
    """List what this server does not have: nothing."""
    return []


for _name in (
    "sd-vae", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "latent-upscale-modes",
    "script-info", "extensions", "loras", "artist-categories", "artists",
):  # fmt: skip
    router.add_api_route(f"/{_name}", _empty, responses=ERRORS, response_model=Empty, name=_name)
