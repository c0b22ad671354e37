"""The front door: load a model, and draw."""

# First of all, before torch: the garbage collector makes pydantic's import twice as slow on torch's full heap.
from scorefield.request import Request

# isort: split
from scorefield.api.loading import load
from scorefield.api.loras import UnusedKeysWarning
from scorefield.api.pipeline import Group, Pipeline
from scorefield.api.result import Picture, Result
from scorefield.api.unseen import UnknownSizeWarning, UnknownWordsWarning, UnreadSignsWarning, UnseenWarning

__all__ = [
    "Group",
    "Picture",
    "Pipeline",
    "Request",
    "RequestError",
    "Result",
    "UnknownSizeWarning",
    "UnknownWordsWarning",
    "UnreadSignsWarning",
    "UnseenWarning",
    "UnusedKeysWarning",
    "load",
]
