"""A trained network is a field that points from noise to data, and a picture is a walk along it.

import scorefield as sf; pipe = sf.load(); image = pipe("a tree in the desert", seed=0).image
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scorefield import lab
    from scorefield.api import Pipeline, load
    from scorefield.conversion.convert import convert
    from scorefield.errors import RequestError, ScorefieldError
    from scorefield.request import Request

__all__ = ["Pipeline", "Request", "RequestError", "ScorefieldError", "__version__", "convert", "lab", "load"]
__version__ = "0.1.0"

_HOMES = {
    "Pipeline": "scorefield.api",
    "load": "scorefield.api",
    "convert": "scorefield.conversion.convert",
    "Request": "scorefield.request",
    "RequestError": "scorefield.errors",
    "ScorefieldError": "scorefield.errors",
}


def __getattr__(name: str) -> object:
    """The public names, each fetched from its module on first use (PEP 562), so that the import stays light."""
    if name == "lab":
        return import_module("scorefield.lab")
    if name not in _HOMES:
        raise AttributeError(f"module 'scorefield' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
