"""Whose turn it is: fair between clients by the work that each was given, and alike outputs share a batch."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True, kw_only=True)
class Waiting:
    """What a job still waits for: units of outputs, each of which is drawn as a whole."""

    job: str
    client: str
    model: str
    likeness: str  # units of one likeness may share a batch
    units: list[range]
    cost: float  # of one output: steps times pixels


class Unit(NamedTuple):
    """Outputs of a job that are drawn together."""

    job: str
    numbers: range


class Place(NamedTuple):
    """Where a job is in the queue."""

    position: int  # 0 is next
    work: tuple[tuple[str, float], ...]  # models and costs of all that comes before its end, itself included


@dataclass(slots=True)
class Turns:
    """The jobs that wait. The client that was given the least work is next; a new one does not make up for the past."""

    waiting: dict[str, Waiting] = field(default_factory=dict)
    given: dict[str, float] = field(default_factory=dict)  # work by client, among those that wait

    def add(self, job: Waiting) -> None:
        """Let a job wait."""
        if job.client not in self.given:
            self.given[job.client] = min(self.given.values(), default=0.0)
        self.waiting[job.job] = job

    def remove(self, job: str) -> bool:
        """Let a job wait no longer; False if it did not."""
        gone = self.waiting.pop(job, None)
        if gone is None:
            return False
        self._drop(gone.client)
        return True

    def take(self, most: int) -> list[Unit]:
        """Take the next batch: the next unit, and others of its likeness until there are `most` outputs."""
        order = list(self._by_turn())
        if not order:
            return []
        first, taken, count = order[0], list[Unit](), 0
        for job in order:
            if job.likeness != first.likeness:
                continue
            while job.units and (not taken or count + len(job.units[0]) <= most):
                numbers = job.units.pop(0)
                taken.append(Unit(job.job, numbers))
                count += len(numbers)
                self.given[job.client] += job.cost * len(numbers)
        for job in order:
            if not job.units:
                self.remove(job.job)
        return taken

    def place(self, job: str) -> Place | None:
        """The place of a job, if it waits; None if it does not."""
        if job not in self.waiting:
            return None
        ends = sorted((end, number, one) for number, (end, one) in enumerate(self._ends()))
        before = [one for _, _, one in ends]
        position = next(k for k, one in enumerate(before) if one.job == job)
        return Place(position, tuple((one.model, _left(one)) for one in before[: position + 1]))

    def _by_turn(self) -> Iterator[Waiting]:
        """The jobs by their clients' turns; the jobs of one client in the order in which they came."""
        yield from sorted(self.waiting.values(), key=lambda job: self.given[job.client])  # stable

    def _ends(self) -> Iterator[tuple[float, Waiting]]:
        """How much work each job's client will have been given when the job ends."""
        given = dict(self.given)
        for job in self.waiting.values():
            given[job.client] += _left(job)
            yield given[job.client], job

    def _drop(self, client: str) -> None:
        if all(job.client != client for job in self.waiting.values()):
            self.given.pop(client, None)


def _left(job: Waiting) -> float:
    return job.cost * sum(map(len, job.units))
