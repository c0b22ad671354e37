"""The pace: how long outputs of a model take here, learned from those that were drawn."""

import threading
from collections.abc import Iterable

from scorefield.request import Request

_NEWEST = 0.3  # the weight of the newest measurement


def cost(request: Request) -> float:
    """The work on one output of a complete request: its steps times its pixels."""
    return float((request.steps or 1) * (request.width or 1) * (request.height or 1) * (request.frames or 1))


class Pace:
    """Seconds for a unit of work, by model. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}

    def measured(self, model: str, work: float, seconds: float) -> None:
        """Learn from work that took so long."""
        new = seconds / work
        with self._lock:
            old = self._seconds.get(model, new)
            self._seconds[model] = old + _NEWEST * (new - old)

    def seconds(self, work: Iterable[tuple[str, float]]) -> float | None:
        """How long work on models takes, one after another; None if one of them has not drawn yet."""
        with self._lock:
            known = dict(self._seconds)
        parts = [known[model] * amount if model in known else None for model, amount in work]
        return None if None in parts else sum(part for part in parts if part is not None)
