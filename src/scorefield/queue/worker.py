"""The worker: one thread that takes batches from the queue and draws them."""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import groupby
from math import hypot
from pathlib import Path

from PIL import Image

from scorefield.api.job import Job
from scorefield.api.result import Film, Picture
from scorefield.api.together import Row, together
from scorefield.errors import MachineError, ScorefieldError, is_out_of_memory
from scorefield.files import video
from scorefield.model.events import Output, Step
from scorefield.queue.entry import Entry, Made
from scorefield.queue.feed import Moved, Preview
from scorefield.queue.jobs import Jobs
from scorefield.queue.kept_steps import KeptSteps
from scorefield.queue.pace import cost
from scorefield.queue.turns import Unit

_LOG = logging.getLogger("scorefield.queue")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seat:
    """An output in a batch: output `index` of a job."""

    entry: Entry
    index: int

    @property
    def job(self) -> str:
        return self.entry.id


class Worker(threading.Thread):
    """Draws until the jobs are closed."""

    def __init__(self, jobs: Jobs) -> None:
        super().__init__(name="scorefield-worker", daemon=True)
        self._jobs = jobs

    def run(self) -> None:
        while units := self._jobs.take():
            self.draw(units)

    def draw(self, units: Sequence[Unit]) -> None:
        """Draw a batch, and note what became of its jobs."""
        entries = {unit.job: self._jobs.entry(unit.job) for unit in units}
        wanted = {job: entry for job, entry in entries.items() if entry is not None and not self._jobs.is_over(job)}
        seats = [_Seat(entry=wanted[job], index=k) for job, numbers in units if job in wanted for k in numbers]
        try:
            if seats:
                self._draw(seats)
        except ScorefieldError as error:
            self._failed(units, str(error))
        except OSError as error:
            _LOG.error("a file of the server cannot be used: %s", error)
            self._failed(units, f"the server cannot write its files: {error.strerror}")
        except Exception as error:  # noqa: BLE001 - a bug in one job must not end the others'
            if is_out_of_memory(error):
                self._failed(units, "out of memory; ask for fewer or smaller outputs")
                return
            _LOG.exception("a job failed by a bug")
            self._failed(units, f"internal error ({type(error).__name__}); the server's log has the details")

    def _failed(self, units: Sequence[Unit], line: str) -> None:
        """End the job; if there are several, draw each by itself, since one may be at fault."""
        by_job = [list(same) for _, same in groupby(units, key=lambda unit: unit.job)]
        if len(by_job) == 1:
            self._jobs.fail(units[0].job, line)
        for own in by_job if len(by_job) > 1 else ():
            if not self._jobs.is_over(own[0].job):
                self.draw(own)

    def _draw(self, seats: Sequence[_Seat]) -> None:
        for name in dict.fromkeys(seat.job for seat in seats):
            self._jobs.started(name)
        system = self._jobs.shelf.system(seats[0].entry.request.model)
        whole = {seat.job: self._jobs.folder.with_inputs(seat.entry.request) for seat in seats}
        job, order = together([Row(request=whole[seat.job], index=seat.index) for seat in seats], system)
        start = time.perf_counter()
        with closing(job):
            self._follow(job, [seats[k] for k in order])
        if not any(self._jobs.is_over(seat.job) and seat.entry.total > 1 for seat in seats):
            work = sum(cost(seat.entry.request) for seat in seats)
            self._jobs.pace.measured(seats[0].entry.request.model, work, time.perf_counter() - start)

    def _follow(self, job: Job, seats: Sequence[_Seat]) -> None:
        """Tell of the steps, write the outputs; stop when nobody needs them any more."""
        done = {seat.job: seat.entry.done for seat in seats}
        kept = {seat: KeptSteps() for seat in seats if seat.entry.wish.keep_steps}
        for event in job:
            if all(self._jobs.is_over(seat.job) for seat in seats):
                return
            match event:
                case Step():
                    self._moved(job, event, seats, done)
                    for row, seat in enumerate(_in_batch(event, seats)):
                        if seat in kept:
                            kept[seat].add(*_looks(job, event, row))
                case Output(media=Picture() | Film() as media):
                    seat = seats[media.index]
                    if not self._jobs.is_over(seat.job):
                        self._write(media, seat, kept.get(seat))
                        done[seat.job] += 1
                case _:
                    pass

    def _moved(self, job: Job, step: Step, seats: Sequence[_Seat], done: dict[str, int]) -> None:
        batches = job.plan.batches
        share = step.progress * len(batches) - batches.index(step.batch)  # of this batch
        here = _in_batch(step, seats)
        feed = self._jobs.feed
        for name in dict.fromkeys(seat.job for seat in here):
            rows = [row for row, seat in enumerate(here) if seat.job == name]
            progress = (done[name] + share * len(rows)) / here[rows[0]].entry.total
            feed.tell(Moved(job=name, progress=min(1.0, progress), i=step.i, n=step.n))
            if 0 < step.i < step.n and feed.wants_preview(name, step.i, step.n):
                for row, image in zip(rows, job.look(step.stage, step.x0[rows]), strict=True):
                    feed.tell(Preview(job=name, index=here[row].index, i=step.i, n=step.n, image=image))

    def _write(self, media: Picture | Film, seat: _Seat, kept: KeptSteps | None) -> None:
        media = replace(media, index=seat.index, request=seat.entry.request)
        folder = self._jobs.folder.job(seat.job)
        path = folder / f"{seat.index}{_ending(media, seat.entry)}"
        media.write(iter([path]), overwrite=True)
        steps = 0 if kept is None else kept.write(folder, seat.index)
        made = Made(
            index=seat.index, file=path.name, sha256=_hash(path), prompt=media.prompt, seed=media.seed, steps=steps
        )
        self._jobs.add_output(seat.job, made)


def _in_batch(step: Step, seats: Sequence[_Seat]) -> Sequence[_Seat]:
    return seats[step.batch.first : step.batch.first + len(step.batch.seeds)]


def _looks(job: Job, step: Step, row: int) -> tuple[Image.Image, Image.Image]:
    """The noisy state of an output and the estimate of the clean one, as pictures."""
    only = slice(row, row + 1)
    x = step.x[only] if step.at is None else step.x[only] / hypot(*step.at)  # a decoder expects unit variance
    return job.look(step.stage, x)[0], job.look(step.stage, step.x0[only])[0]


def _ending(media: Picture | Film, entry: Entry) -> str:
    if isinstance(media, Picture):
        return ".png"
    return entry.wish.ending or (".mp4" if video.can_encode() else ".webp")


def _hash(path: Path) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise MachineError("the server's folder has gone while it was drawing") from None
