"""The models that can be loaded: a registry of families, and loading by name or path."""

from scorefield.zoo.opened_model import OpenedModel, load
from scorefield.zoo.registry import available, kinds, register

__all__ = ["OpenedModel", "available", "kinds", "load", "register"]
