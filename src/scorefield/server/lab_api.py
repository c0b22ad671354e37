"""The experiments of the lab: their claims, and runs with one's own settings."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from scorefield.data.shapes import SHAPES
from scorefield.errors import RequestError, ScorefieldError
from scorefield.lab import EXPERIMENTS
from scorefield.lab import record as records
from scorefield.lab.experiment import Experiment, Result, Settings
from scorefield.lab.page import prose
from scorefield.server.answers import NotFound
from scorefield.server.described import ERRORS

T = TypeVar("T")

_MOST_RUNS = 32  # whose files are kept
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/png", "image/gif", "video/mp4")
        },
    }
}

router = APIRouter(tags=["lab"])


class ExperimentOut(BaseModel):
    """An experiment."""

    name: str
    claim: str = Field(description="One sentence that can be false.")
    criteria: list[str] = Field(description="The claim holds if all of these do.")
    about: str
    settings: dict[str, JsonValue] = Field(description="The settings with their defaults.")
    schemas: dict[str, dict[str, Any]] = Field(description="A JSON schema of each setting.")


class RunIn(BaseModel):
    """Settings by name; the others keep their defaults."""

    model_config = ConfigDict(extra="forbid")

    settings: dict[str, int | float | str | bool] = {}


class RunOut(BaseModel):
    """A run of an experiment."""

    id: str
    name: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    what: str = Field(description="What it is doing.")
    progress: float | None = Field(description="How much of that is done, 0 to 1, where it can be told.")
    error: str | None
    result: records.Record | None
    files: list[str] = Field(description="Addresses of the figure and the animation.")


class _CancelledError(Exception):
    """A run was cancelled."""


@dataclass(slots=True, kw_only=True)
class Run:
    """A run, which one thread works on while others look."""

    id: str
    experiment: Experiment[Settings, Result]
    settings: Settings
    folder: Path
    state: Literal["waiting", "running", "done", "failed", "cancelled"] = "waiting"
    what: str = ""
    done: int = 0
    total: int | None = None
    error: str | None = None
    cancelled: bool = False

    def work(self) -> None:
        """Run the experiment and write its files."""
        try:
            self.state = "running"
            outcome = self.experiment.outcome(self.settings, self._watch)
            self.what, self.total = "drawing the figure", None
            self._check()
            records.save(outcome, self.folder)
            self.state = "done"
        except _CancelledError:
            self.state = "cancelled"
        except (ScorefieldError, ArithmeticError, OSError) as error:
            self.state, self.error = "failed", str(error)

    def _watch(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        self.what, self.done, self.total = what, 0, total
        for item in items:
            self._check()
            yield item
            self.done += 1

    def _check(self) -> None:
        if self.cancelled:
            raise _CancelledError


class Runs:
    """The runs of a server, one after another; files of the newest are kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._worker = ThreadPoolExecutor(1, "scorefield-lab")

    def begin(self, experiment: Experiment[Settings, Result], settings: Settings) -> Run:
        """Begin a run, when the ones before are over."""
        name = f"run_{secrets.token_hex(8)}"
        run = Run(id=name, experiment=experiment, settings=settings, folder=self._folder / name)
        with self._lock:
            self._runs[name] = run
            while len(self._runs) > _MOST_RUNS:
                self._forget(self._runs.popitem(last=False)[1])
        self._worker.submit(run.work)
        return run

    def get(self, name: str) -> Run:
        """A run; NotFound if it was never there, or is forgotten."""
        with self._lock:
            if name not in self._runs:
                raise NotFound(f"there is no run {name[:80]!r} of an experiment")
            return self._runs[name]

    def close(self) -> None:
        """Cancel what runs and waits."""
        with self._lock:
            for run in self._runs.values():
                run.cancelled = True
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _forget(self, run: Run) -> None:
        run.cancelled = True
        for path in run.folder.glob("*"):
            path.unlink(missing_ok=True)


def get_runs(request: Request) -> Runs:
    """The runs of the server."""
    runs: Runs = request.app.state.runs
    return runs


@router.get("/lab", responses=ERRORS)
def experiments() -> list[ExperimentOut]:
    """List the experiments."""
    return [_described(one) for one in EXPERIMENTS.values()]


@router.post("/lab/{name}", status_code=202, responses=ERRORS)
def begin(name: str, asked: RunIn, request: Request) -> RunOut:
    """Run an experiment with settings of one's own."""
    if name not in EXPERIMENTS:
        raise NotFound(f"there is no experiment {name[:80]!r}")
    _check_shape(asked.settings)
    experiment = EXPERIMENTS[name]
    return _out(get_runs(request).begin(experiment, experiment.parse(asked.settings)))


@router.get("/lab/runs/{run}", responses=ERRORS)
def run(run: str, request: Request) -> RunOut:
    """Tell how a run stands."""
    return _out(get_runs(request).get(run))


@router.post("/lab/runs/{run}/cancel", responses=ERRORS)
def cancel(run: str, request: Request) -> RunOut:
    """End a run at its next step."""
    found = get_runs(request).get(run)
    found.cancelled = True
    return _out(found)


@router.get("/lab/runs/{run}/files/{name}", response_class=FileResponse, responses=ERRORS | _PICTURES)
def file(run: str, name: Literal["figure.png", "animation.mp4", "animation.gif"], request: Request) -> FileResponse:
    """The figure or the animation of a run."""
    path = get_runs(request).get(run).folder / name
    if not path.is_file():
        raise NotFound(f"the run has no {name}")
    return FileResponse(path)


def _check_shape(settings: Mapping[str, object]) -> None:
    """RequestError for a shape that is a file: a client names no files of the server."""
    shape = settings.get("shape")
    if shape is not None and shape not in SHAPES:
        raise RequestError(f"shape must be {', '.join(SHAPES)}", option="shape")


def _described(one: Experiment[Settings, Result]) -> ExperimentOut:
    known = fields(one.settings)
    schema: dict[str, dict[str, Any]] = TypeAdapter(one.settings).json_schema()["properties"]
    if "shape" in schema:
        schema["shape"]["enum"] = list(SHAPES)  # as _check_shape has it
    return ExperimentOut(
        name=one.name,
        claim=one.claim,
        criteria=[str(criterion) for criterion in one.criteria],
        about=prose(one),
        settings={field.name: TypeAdapter(Any).dump_python(field.default, mode="json") for field in known},
        schemas=schema,
    )


def _out(run: Run) -> RunOut:
    files = (
        [path.name for path in sorted(run.folder.glob("*")) if path.suffix != ".json"] if run.state == "done" else []
    )
    share = None if run.total is None or run.total <= 0 else min(1.0, run.done / run.total)
    return RunOut(
        id=run.id,
        name=run.experiment.name,
        state=run.state,
        what=run.what,
        progress=1.0 if run.state == "done" else share,
        error=run.error,
        result=records.load(run.folder) if run.state == "done" else None,
        files=[f"/lab/runs/{run.id}/files/{name}" for name in files],
    )
