"""An entry of the queue: what a client asked for, and what has become of it."""

from dataclasses import dataclass
from enum import StrEnum

from scorefield.request import Request


class State(StrEnum):
    """What has become of a job. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a client may ask for besides the request itself."""

    client: str = ""  # whose turn it is; turns go round among clients
    face: str = "jobs"  # the interface that it came through
    keep_steps: bool = False  # keep pictures of every step
    webhook: str | None = None  # the address to call when it is over
    ending: str = ""  # of a film's file; the default is mp4, or WebP without PyAV
    label: str = ""  # the client's own name of the job


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A job of the queue, as the ledger has it. Times are seconds since 1970."""

    id: str
    wish: Wish
    request: Request  # complete
    frames: int  # of each output; 1 for a picture
    total: int  # outputs
    state: State = State.QUEUED
    done: int = 0  # outputs that are finished
    created: float
    started: float | None = None
    finished: float | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A finished output of a job."""

    index: int
    file: str  # its name in the job's folder
    sha256: str  # of the file
    prompt: str
    seed: int
    steps: int = 0  # steps whose pictures are kept
