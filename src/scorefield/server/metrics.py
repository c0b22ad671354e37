"""Metrics for Prometheus: jobs, outputs, the queue, and the models in memory."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from scorefield.queue.entry import Entry
from scorefield.queue.jobs import Jobs

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.5, 1, 2, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._accepted = Counter("scorefield_jobs_accepted", "Jobs accepted", ["face"], registry=self._registry)
        self._over = Counter("scorefield_jobs_over", "Jobs that ended", ["state"], registry=self._registry)
        self._seconds = Histogram(
            "scorefield_job_seconds", "Seconds from accepted to done", buckets=_SECONDS, registry=self._registry
        )
        self._waiting = Gauge("scorefield_jobs_unfinished", "Jobs that wait or are drawn", registry=self._registry)
        self._model = Gauge("scorefield_model_bytes", "Weights in memory", ["model"], registry=self._registry)

    def accepted(self, entry: Entry) -> None:
        """Count a job."""
        self._accepted.labels(entry.wish.face).inc()

    def over(self, entry: Entry) -> None:
        """Count a job that is over."""
        self._over.labels(entry.state.value).inc()
        if entry.finished is not None:
            self._seconds.observe(entry.finished - entry.created)

    def text(self, jobs: Jobs) -> str:
        """All metrics, in Prometheus' text format."""
        self._waiting.set(len(jobs.unfinished()))
        self._model.clear()
        for name, size in jobs.shelf.loaded().items():
            self._model.labels(name).set(size)
        return generate_latest(self._registry).decode()
