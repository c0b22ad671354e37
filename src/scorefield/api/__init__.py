"""The front door: load a model, and draw."""

# Before torch: with torch's objects on the heap, the garbage collector makes pydantic's import twice as slow.
from scorefield.request import Request

# isort: split
from scorefield.api.job import Job
from scorefield.api.loading import load, prepare
from scorefield.api.pipeline import Pipeline
from scorefield.api.resolve import Plan
from scorefield.api.result import Film, Picture, Result

__all__ = ["Film", "Job", "Picture", "Pipeline", "Plan", "Request", "Result", "load", "prepare"]
