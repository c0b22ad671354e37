"""Draw an identical output again, from the record in its file."""

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import BaseModel, Field, ValidationError

from scorefield.api.job import Job
from scorefield.api.loading import prepare
from scorefield.api.result import Film, Picture
from scorefield.errors import DamagedError, MissingError
from scorefield.model.events import Batch, Event, Output, Step
from scorefield.request import Request

_MOST_TOGETHER = 16  # of a larger batch only the one picture is drawn again: the others cost too much


class Record(BaseModel):
    """The part of an output's record that drawing it again needs."""

    request: Request
    index: Annotated[int, Field(ge=0)]
    sha256: str
    threads: Annotated[int, Field(ge=1, le=1024)]
    frames_sha256: str | None = None  # of a film


def read_record(stored: object) -> Record:
    """The record that a file holds; DamagedError for one that cannot be used."""
    try:
        return Record.model_validate(stored)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedError(f"this scorefield record cannot be used: {where}: {first['msg']}") from None


def replay_job(record: Record, *, anyway: bool = False) -> Job:
    """The job that draws the output of `record` again, with the others of its batch, whose size affects rounding.

    Of a batch of more than 16 it draws only the one. DamagedError for an index that the request does not have,
    MachineError if the memory will not suffice, unless `anyway`.
    """
    job = prepare(record.request, anyway=anyway)
    batch = next((one for one in job.plan.batches if 0 <= record.index - one.first < len(one.seeds)), None)
    if batch is None:
        raise DamagedError(f"the record asks for picture {record.index}, which its own request does not have")
    if len(batch.seeds) > _MOST_TOGETHER:
        k = record.index - batch.first
        batch = Batch(first=record.index, prompts=batch.prompts[k : k + 1], seeds=batch.seeds[k : k + 1])
    job.plan = replace(job.plan, batches=(batch,))
    return job


def replayed(record: Record, job: Job, events: Iterable[Event] | None = None) -> Picture | Film:
    """Run `job` and return the output; `events` are the job's, if somebody watches them.

    MissingError if the model has other weights here than it was drawn with.
    """
    # How a sum is split among threads decides how it is rounded; far too many threads only make libgomp complain.
    torch.set_num_threads(min(record.threads, 4 * (os.cpu_count() or 1)))
    for event in job if events is None else events:
        if isinstance(event, Step) and job.system.sha256 != record.sha256:
            raise MissingError(
                f"the model {job.system.name} has other weights here (hash {job.system.sha256[:10]}) than the picture "
                f"was drawn with (hash {record.sha256[:10]}); install the version of scorefield that drew it"
            )
        if isinstance(event, Output) and isinstance(event.media, Picture | Film) and event.media.index == record.index:
            job.close()
            return event.media
    raise ValueError(f"the job made no picture {record.index}")
