"""The front door: load a model, and draw."""

from scorefield.api.pipeline import Group, Pipeline, UnknownWordsWarning, load
from scorefield.api.result import Picture, Result

__all__ = ["Group", "Picture", "Pipeline", "Result", "UnknownWordsWarning", "load"]
