"""The models that can be loaded: the families that are known, and the way from a name or a path to a model."""

from scorefield.zoo.opened_model import OpenedModel, load
from scorefield.zoo.registry import available, kinds, register

__all__ = ["OpenedModel", "available", "kinds", "load", "register"]
