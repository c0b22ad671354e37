"""The models: frozen specs of what is embedded and published, and how each is built."""

import difflib

import torch

from scorefield.zoo import embedded
from scorefield.zoo.model import Model
from scorefield.zoo.spec import Defaults, ModelSpec

__all__ = ["Defaults", "Model", "ModelSpec", "UnknownModelError", "available", "load"]


class UnknownModelError(ValueError):
    """No model goes by that name; the message gives the nearest names."""


def available() -> tuple[ModelSpec, ...]:
    """Every model that can be loaded by name."""
    return (embedded.spec(),)


def load(name: str = embedded.SCENES.name, device: str = "auto", dtype: str = "auto") -> Model:
    """The model of that name on a device ("auto", "cpu", "cuda", ...) in a dtype ("auto", "float32", "bfloat16").

    "auto" is CUDA where there is one, and float32. UnknownModelError, or WeightsError for damaged files.
    """
    known = (embedded.SCENES.name,)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known
        raise UnknownModelError(f"no model {name!r}; there is: {', '.join(near)}")
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    return embedded.scenes(where, torch.float32 if dtype == "auto" else getattr(torch, dtype))
