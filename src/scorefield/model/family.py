"""The contract of a family: models that are recognised by the same signs and built in the same way."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from scorefield.model.spec import ModelSpec
from scorefield.model.system import Place, System
from scorefield.request import ModelChoice
from scorefield.weights.checkpoint import Checkpoint

I = TypeVar("I")  # noqa: E741 - the identity of a model: whatever its family needs to build it


class Family(Protocol[I]):
    """A family of models, from this package or another; `zoo.register` adds it."""

    @property
    def names(self) -> Mapping[str, I]:
        """The models that are loaded by name, without files from the user."""
        ...

    def specs(self) -> Sequence[ModelSpec]:
        """The specs to list: the models by name first, then the kinds that are loaded from files."""
        ...

    def recognise(self, checkpoint: Checkpoint) -> I | None:
        """The identity of files of this family, else None; UnsupportedError for a model that cannot draw."""
        ...

    def build(self, identity: I, choice: ModelChoice, place: Place) -> System:
        """The model; on a hollow place it refuses what the whole one would, and reads only names and shapes."""
        ...
