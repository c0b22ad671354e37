"""A loaded model: its stages, in order, and what it was loaded from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from scorefield.model.stage import Stage
from scorefield.request import ModelChoice
from scorefield.weights.lora.merge import Scales


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedWord:
    """A textual inversion that a model's conditioner knows."""

    token: str
    vectors: int  # each takes a token's place in a prompt
    path: str
    sha256: str  # of its file


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedLora:
    """A LoRA that a model's weights were changed with."""

    path: str
    scales: Scales
    sha256: str  # of its file
    unused: tuple[str, ...]  # its keys that belong to no layer of the model


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A model ready to draw. What one stage makes is given to the next; one stage is the common case.

    It keeps no state between calls, so threads may share it.
    """

    choice: ModelChoice  # what it was loaded as, with everything decided: a record keeps it
    stages: tuple[Stage[Any], ...]
    device: torch.device
    dtype: torch.dtype
    sha256: str  # of all that it was loaded from, except textual inversions and LoRAs
    fixed: Mapping[str, object] = field(default_factory=dict)  # options that it does not take, as it always has them
    loaded_as: str | None = None  # the name that it was asked for, where the record's name is more exact
    embeddings: tuple[LearnedWord, ...] = ()
    loras: tuple[AppliedLora, ...] = ()

    @property
    def name(self) -> str:
        """The model's name, or the path or hub name that it was loaded from."""
        return self.choice.model


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where networks are built, and in which dtype."""

    device: torch.device
    dtype: torch.dtype
    hollow: bool = False  # networks have names and shapes and no numbers, to try a request with
