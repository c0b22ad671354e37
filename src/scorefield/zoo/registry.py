"""The families that are known."""

from typing import Any

from scorefield.families.scenes.shipped import Scenes
from scorefield.families.stable_diffusion.build import StableDiffusion
from scorefield.families.wan.build import Wan
from scorefield.model.family import Family
from scorefield.model.spec import ModelSpec

FAMILIES: list[Family[Any]] = [StableDiffusion(), Wan(), Scenes()]


def register(family: Family[Any]) -> None:
    """Add a family: its models load by their names, and files that it recognises load by their paths."""
    FAMILIES.append(family)


def names() -> list[str]:
    """The models that are loaded by name."""
    return [name for family in FAMILIES for name in family.names]


def available() -> tuple[ModelSpec, ...]:
    """Every model that is loaded by name."""
    return tuple(spec for family in FAMILIES for spec in family.specs() if spec.name in family.names)


def kinds() -> tuple[ModelSpec, ...]:
    """Every kind of model that is loaded from files; the name of a kind loads nothing."""
    return tuple(spec for family in FAMILIES for spec in family.specs() if spec.name not in family.names)
