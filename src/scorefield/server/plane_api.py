"""The plane of the lab, live: draw points, watch their field being learned, let points walk."""

import secrets
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import torch
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from scorefield.data import shapes
from scorefield.errors import RequestError
from scorefield.lab.plane import levels
from scorefield.lab.plane.playground import FIELDS, Aim, Playground
from scorefield.lab.plane.playground import Field as FieldName
from scorefield.sample import samplers
from scorefield.server.answers import NotFound
from scorefield.server.described import ERRORS

_MOST_PLANES = 16  # the one that was not used for longest is forgotten
_MOST_DRAWN = 2000  # points of a shape or a walk
_MOST_NUMBERS = 4_000_000  # of an answer
_FLOATS = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_BINARY: dict[int | str, dict[str, Any]] = {
    200: {"description": "Little-endian float32; the header x-shape says its shape.", "content": _FLOATS}
}

router = APIRouter(tags=["plane"])

Coordinate = Annotated[float, Field(ge=-1e3, le=1e3, allow_inf_nan=False)]
Point = tuple[Coordinate, Coordinate]
Time = Annotated[float, Field(ge=0.005, le=0.995, allow_inf_nan=False)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class PlaneIn(_Asked):
    """A shape by its name, or points."""

    shape: Literal["spiral", "moons", "checkerboard", "ring"] = "spiral"
    points: Annotated[list[Point], Field(min_length=2, max_length=_MOST_DRAWN)] | None = None
    steps: Annotated[int, Field(ge=1, le=5000)] = 1500
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0


class PlaneOut(BaseModel):
    """A plane, and how far its network has learned."""

    id: str
    step: int
    steps: int
    loss: float | None
    classes: list[str]
    nodes: list[tuple[float, float, int]] = Field(description="Places and classes of the data.")
    samplers: list[str]


class FieldsIn(_Asked):
    """Where and when to look at which fields."""

    times: Annotated[list[Time], Field(min_length=1, max_length=129)]
    side: Annotated[int, Field(ge=2, le=64, description="Places along each side of the lattice.")] = 24
    limit: Annotated[float, Field(gt=0, le=100)] = 3.0
    fields: Annotated[list[FieldName], Field(min_length=1, max_length=len(FIELDS))] = ["guided"]
    label: Annotated[int, Field(ge=0, le=15)] | None = None
    alpha: Annotated[float, Field(ge=-20, le=20)] = 1.0


class WalkIn(_Asked):
    """A walk of points from noise to data."""

    sampler: Annotated[str, Field(min_length=1, max_length=60)] = "ddpm"
    steps: Annotated[int, Field(ge=1, le=500)] = 64
    count: Annotated[int, Field(ge=1, le=_MOST_DRAWN)] = 256
    start: Annotated[list[Point], Field(min_length=1, max_length=_MOST_DRAWN)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    noise: bool = True
    exact: bool = Field(default=False, description="Walk along the exact field instead of the learned one.")
    label: Annotated[int, Field(ge=0, le=15)] | None = None
    alpha: Annotated[float, Field(ge=-20, le=20)] = 1.0


class Planes:
    """The planes of a server, in memory; networks are trained one after another."""

    def __init__(self) -> None:
        self._planes: OrderedDict[str, Playground] = OrderedDict()
        self._lock = threading.Lock()
        self._trainer = ThreadPoolExecutor(1, "scorefield-plane")

    def add(self, plane: Playground) -> str:
        """Begin a plane, whose network is trained from now on."""
        name = f"plane_{secrets.token_hex(8)}"
        with self._lock:
            self._planes[name] = plane
            while len(self._planes) > _MOST_PLANES:
                self._planes.popitem(last=False)[1].stopped = True
        self._trainer.submit(plane.learn)
        return name

    def get(self, name: str) -> Playground:
        """A plane; NotFound if it was never there, or is forgotten."""
        with self._lock:
            if name not in self._planes:
                raise NotFound(f"there is no plane {name[:80]!r}; it may have been forgotten: begin another one")
            self._planes.move_to_end(name)
            return self._planes[name]

    def close(self) -> None:
        """Stop training."""
        with self._lock:
            for plane in self._planes.values():
                plane.stopped = True
        self._trainer.shutdown(wait=True, cancel_futures=True)


def get_planes(request: Request) -> Planes:
    """The planes of the server."""
    planes: Planes = request.app.state.planes
    return planes


@router.post("/planes", status_code=201, responses=ERRORS)
def begin(asked: PlaneIn, request: Request) -> PlaneOut:
    """Begin a plane: its network learns the shape in the background, within seconds."""
    shape = shapes.find(asked.shape) if asked.points is None else shapes.from_points(asked.points, "the drawing")
    planes = get_planes(request)
    name = planes.add(Playground(shape=shape, steps=asked.steps, seed=asked.seed))
    return _out(name, planes.get(name))


@router.get("/planes/{plane}", responses=ERRORS)
def plane(plane: str, request: Request) -> PlaneOut:
    """Tell how far a plane's network has learned."""
    return _out(plane, get_planes(request).get(plane))


@router.post("/planes/{plane}/fields", response_class=Response, responses=ERRORS | _BINARY)
def fields(plane: str, asked: FieldsIn, request: Request) -> Response:
    """Predict clean points from a lattice of places: (times, fields, places, 2), row by row from the lower left.

    States are in the variance-preserving gauge. The header x-levels lists alpha and sigma of each time.
    """
    ground = get_planes(request).get(plane)
    numbers = len(asked.times) * len(asked.fields) * asked.side**2 * 2
    _check(ground, asked.label, numbers)
    axis = torch.linspace(-asked.limit, asked.limit, asked.side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    places = torch.stack([x.flatten(), y.flatten()], 1)
    found = ground.fields(asked.times, places, asked.fields, Aim(label=asked.label, alpha=asked.alpha))
    at = [levels.level(t) for t in asked.times]
    told = " ".join(f"{float(one.alpha):.6g},{float(one.sigma):.6g}" for one in at)
    return _binary(found, {"x-levels": told})


@router.post("/planes/{plane}/walk", response_class=Response, responses=ERRORS | _BINARY)
def walk(plane: str, asked: WalkIn, request: Request) -> Response:
    """Let points walk from noise to data: the states (steps + 1, points, 2), evenly spaced in t from 0.99 to 0."""
    ground = get_planes(request).get(plane)
    samplers.find(asked.sampler)
    count = asked.count if asked.start is None else len(asked.start)
    _check(ground, asked.label, (asked.steps + 1) * count * 2)
    generator = torch.Generator().manual_seed(asked.seed)
    start = torch.randn(count, 2, generator=generator) if asked.start is None else torch.tensor(asked.start)
    aim = Aim(label=asked.label, alpha=asked.alpha)
    states = ground.walk(
        asked.sampler, asked.steps, start, aim=aim, noisy=asked.noise, exact=asked.exact, seed=asked.seed + 1
    )
    return _binary(states, {})


def _check(plane: Playground, label: int | None, numbers: int) -> None:
    if label is not None and label >= len(plane.classes):
        raise RequestError(f"label must be below {len(plane.classes)}", option="label")
    if numbers > _MOST_NUMBERS:
        raise RequestError(f"{numbers:,} numbers are too many for an answer: at most {_MOST_NUMBERS:,}")


def _out(name: str, plane: Playground) -> PlaneOut:
    shape = plane.shape
    nodes = [(x, y, int(label)) for (x, y), label in zip(shape.nodes.tolist(), shape.label, strict=True)]
    loss = None if plane.step == 0 else plane.loss
    return PlaneOut(
        id=name, step=plane.step, steps=plane.steps, loss=loss, classes=plane.classes, nodes=nodes,
        samplers=[record.name for record in samplers.SAMPLERS if record.name != "optimise"],
    )  # fmt: skip


def _binary(found: Tensor, headers: dict[str, str]) -> Response:
    data = found.float().contiguous().numpy().astype("<f4").tobytes()
    shape = ",".join(map(str, found.shape))
    return Response(data, media_type="application/octet-stream", headers={"x-shape": shape, **headers})
