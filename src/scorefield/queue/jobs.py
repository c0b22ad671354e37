"""The jobs of a server: accepted, drawn in turn by one worker, followed, cancelled, and kept in a folder."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from scorefield.api.outlook import Outlook
from scorefield.api.resolve import Plan
from scorefield.api.together import likeness, units
from scorefield.errors import MachineError, RequestError, ScorefieldError
from scorefield.queue.entry import Entry, Made, State, Wish
from scorefield.queue.feed import Changed, Feed, Ready
from scorefield.queue.job_folder import JobFolder
from scorefield.queue.pace import Pace, cost
from scorefield.queue.shelf import Shelf
from scorefield.queue.turns import Turns, Unit, Waiting
from scorefield.request import Request

_LOG = logging.getLogger("scorefield.queue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client's job, and all of them, may take."""

    waiting: int = 256  # jobs that wait or run
    together: int = 8  # outputs of a batch
    outputs: int = 64  # of a job
    steps: int = 150
    pixels: int = 2048 * 2048  # of an output's frame
    frames: int = 161
    keep: int = 10_000  # finished jobs
    keep_seconds: float = 90 * 86400.0


class QueueFullError(ScorefieldError):
    """The queue holds as many jobs as it may."""

    kind = "machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The place of an unfinished job in the queue."""

    position: int  # jobs that will be over before it; 0 if it is being drawn
    seconds: float | None  # until it is done; None if the model has not drawn yet


class Jobs:
    """All jobs of a folder. Threads may share it; one worker takes its units."""

    def __init__(self, folder: JobFolder, shelf: Shelf, limits: Limits) -> None:
        """Queue again what was not finished when the folder was last in use."""
        self.folder, self.shelf, self.limits = folder, shelf, limits
        self.feed, self.pace = Feed(), Pace()
        self._turns, self._changed = Turns(), threading.Condition()
        self._unfinished: dict[str, Entry] = {}
        self._drawn: set[str] = set()  # jobs in the worker's hands
        self._closing = False
        self.on_end: Callable[[str], object] | None = None  # called with a job that is over, in any thread
        for entry in folder.ledger.requeue():
            self._wait(entry, finished={made.index for made in folder.ledger.outputs(entry.id)})

    def submit(self, request: Request, wish: Wish) -> Entry:
        """Accept a job; RequestError for what its model or the limits do not allow, QueueFullError if there are many.

        What the request leaves open, such as the seed, is decided now, and the job survives a crash from here on.
        """
        self._check_room()
        _check(request, self.limits)
        plan = self.shelf.plan(request)
        entry = self._entry(plan, wish)
        _check(entry.request, self.limits, frames=entry.frames)
        entry = replace(entry, request=self.folder.keep_inputs(entry.request))
        with self._changed:
            self._check_room()
            self.folder.ledger.add(entry)
            self._wait(entry)
        return entry

    def cancel(self, job: str) -> bool:
        """End a job; what is being drawn of it stops at its next step. False if it is over, or unknown."""
        return self._end(job, State.CANCELLED)

    def fail(self, job: str, line: str) -> None:
        """End a job that cannot be drawn."""
        self._end(job, State.FAILED, line)

    def entry(self, job: str) -> Entry | None:
        """A job, if there is one of that id."""
        return self.folder.ledger.get(job)

    def outputs(self, job: str) -> list[Made]:
        """The finished outputs of a job."""
        return self.folder.ledger.outputs(job)

    def path(self, job: str, file: str) -> Path:
        """The path of a file of a job, by a name from the ledger."""
        return self.folder.job(job) / file

    def forget(self, job: str) -> bool:
        """Delete a job that is over, with its files; False if there is none."""
        if not self.folder.ledger.forget(job):
            return False
        self.folder.remove(job)
        return True

    def tidy(self) -> int:
        """Delete the jobs that are kept no longer; return how many."""
        limits = self.limits
        return self.folder.tidy(keep=limits.keep, before=time.time() - limits.keep_seconds)

    def unfinished(self, face: str | None = None) -> list[str]:
        """The jobs that wait or are being drawn, the oldest first; those of one interface if it is named."""
        with self._changed:
            return [job for job, entry in self._unfinished.items() if face in (None, entry.wish.face)]

    def drawn(self) -> list[str]:
        """The jobs that are being drawn now."""
        with self._changed:
            return sorted(self._drawn)

    def standing(self, job: str) -> Standing | None:
        """The place of a job in the queue; None if it is over, or unknown."""
        with self._changed:
            entry, place = self._unfinished.get(job), self._turns.place(job)
            is_drawn = job in self._drawn
            ahead = [one for one in self._drawn if one in self._unfinished and self._turns.place(one) is None]
        if entry is None:
            return None
        work = list(place.work) if place is not None else []
        moved = self.feed.latest(job)
        if place is None:
            left = 1 - (moved.progress if moved is not None else entry.done / entry.total)
            work.append((entry.request.model, left * cost(entry.request) * entry.total))
        position = 0 if place is None or is_drawn else place.position + len(ahead)
        return Standing(position=position, seconds=self.pace.seconds(work))

    def outlook(self, request: Request) -> Outlook:
        """What a request would take; errors as in `submit`."""
        _check(request, self.limits)
        return self.shelf.outlook(request)

    def seconds(self, model: str, request: Request) -> float | None:
        """The time to draw a complete request, if the model has drawn here."""
        return self.pace.seconds([(model, cost(request) * len(request.prompts) * request.count)])

    def check_ready(self) -> None:
        """QueueFullError if no job is accepted now, MachineError if none is drawn."""
        self._check_room()
        if self._closing:
            raise MachineError("the server is stopping")

    def take(self) -> list[Unit]:
        """Wait for the next batch of outputs to draw; empty when the server stops."""
        with self._changed:
            self._drawn.clear()
            while not self._closing and not self._turns.waiting:
                self._changed.wait()
            taken = [] if self._closing else self._turns.take(self.limits.together)
            self._drawn |= {unit.job for unit in taken}
            return taken

    def started(self, job: str) -> None:
        """Note that a job is being drawn."""
        if self.folder.ledger.start(job):
            self.feed.tell(Changed(job=job, state=State.RUNNING))

    def is_over(self, job: str) -> bool:
        """Whether a job needs nothing more."""
        with self._changed:
            return self._closing or job not in self._unfinished

    def add_output(self, job: str, made: Made) -> None:
        """Note a finished output."""
        done = self.folder.ledger.add_output(job, made)
        self.feed.tell(Ready(job=job, made=made))
        if done:
            self._over(job, State.DONE)

    def close(self) -> None:
        """Stop the worker at its next step, and end all followers; unfinished jobs stay in the folder."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.feed.close()

    def _entry(self, plan: Plan, wish: Wish) -> Entry:
        request = plan.request
        return Entry(
            id=f"job_{secrets.token_hex(12)}",
            wish=wish,
            request=request,
            frames=plan.canvas.frames,
            total=len(request.prompts) * request.count,
            created=time.time(),
            notes=tuple(dict.fromkeys(note.text for note in plan.notes)),
        )

    def _wait(self, entry: Entry, finished: Iterable[int] = ()) -> None:
        request, gone = entry.request, set(finished)
        waiting = Waiting(
            job=entry.id,
            client=entry.wish.client,
            model=request.model,
            likeness=entry.id if request.noise == "batch" or entry.wish.keep_steps else likeness(request),
            units=[unit for unit in units(request) if not gone.issuperset(unit)],
            cost=cost(request),
        )
        with self._changed:
            self._unfinished[entry.id] = entry
            self._turns.add(waiting)
            self._changed.notify_all()

    def _check_room(self) -> None:
        if len(self._unfinished) >= self.limits.waiting:
            raise QueueFullError(f"{self.limits.waiting} jobs are waiting, which is the most; try again later")

    def _end(self, job: str, state: State, error: str | None = None) -> bool:
        if not self.folder.ledger.end(job, state, error):
            return False
        self._over(job, state, error)
        return True

    def _over(self, job: str, state: State, error: str | None = None) -> None:
        with self._changed:
            self._unfinished.pop(job, None)
            self._turns.remove(job)
        self.feed.tell(Changed(job=job, state=state, error=error))
        if self.on_end is not None:
            self.on_end(job)
        _LOG.info("job over", extra={"job": job, "state": state.value})


def _check(request: Request, limits: Limits, frames: int = 1) -> None:
    """RequestError for a request that is larger than this server allows."""
    total = len(request.prompts) * request.count
    if total > limits.outputs:
        raise RequestError(f"{total} outputs are too many for this server: at most {limits.outputs} a request")
    if (request.steps or 0) > limits.steps:
        raise RequestError(
            f"{request.steps} steps are too many for this server: at most {limits.steps}", option="steps"
        )
    if (request.width or 0) * (request.height or 0) > limits.pixels:
        size = f"{request.width}x{request.height}"
        raise RequestError(f"{size} is too large for this server: at most {limits.pixels} pixels", option="width")
    if (count := max(frames, request.frames or 1)) > limits.frames:
        raise RequestError(f"{count} frames are too many for this server: at most {limits.frames}", option="frames")
