"""Draw outputs of several requests in one batch; each is the one that its request draws alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from scorefield.api.job import Job
from scorefield.api.resolve import resolve
from scorefield.model.events import Batch
from scorefield.model.system import System
from scorefield.request import MOST_PICTURES, SEEDS, Request

_OF_A_ROW = {"prompts", "seed", "count", "batch_size"}  # what outputs of one batch need not share


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One output of a complete request: number `index`."""

    request: Request
    index: int

    @property
    def prompt(self) -> str:
        return self.request.prompts[self.index // self.request.count]

    @property
    def seed(self) -> int:
        return ((self.request.seed or 0) + self.index) % SEEDS


def units(request: Request) -> list[range]:
    """The outputs of a complete request that are drawn as a whole: each by itself, unless their noise is shared."""
    total = len(request.prompts) * request.count
    return [range(total)] if request.noise == "batch" else [range(k, k + 1) for k in range(total)]


def likeness(request: Request) -> str:
    """A text that is equal for complete requests whose outputs may share a batch."""
    return json.dumps(request.model_dump(mode="json", exclude=_OF_A_ROW), sort_keys=True)


def together(rows: Sequence[Row], system: System) -> tuple[Job, list[int]]:
    """A job on rows of one likeness, and which of `rows` each of its outputs is.

    Rows whose prompts need different numbers of chunks are in batches of their own, one after another. If their noise
    is shared, they are all the rows of one request, whose own batches are kept.
    """
    first = rows[0].request
    if first.noise == "batch":
        return Job(resolve(first, system), system), list(range(len(rows)))
    prompts = tuple(dict.fromkeys(row.prompt for row in rows))
    words = first.model_copy(update={"prompts": prompts, "count": 1, "batch_size": MOST_PICTURES})
    plan = resolve(words, system)
    group = {prompt: number for number, batch in enumerate(plan.batches) for prompt in batch.prompts}
    order = sorted(range(len(rows)), key=lambda k: group[rows[k].prompt])
    batches: list[Batch] = []
    for _, same in groupby(order, key=lambda k: group[rows[k].prompt]):
        alike = [rows[k] for k in same]
        prompts, seeds = tuple(row.prompt for row in alike), tuple(row.seed for row in alike)
        batches.append(Batch(first=sum(len(one.seeds) for one in batches), prompts=prompts, seeds=seeds))
    return Job(replace(plan, batches=tuple(batches)), system), order
