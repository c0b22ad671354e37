"""The shelf: models that are loaded, within a budget of memory; the one that was not used for longest goes first."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scorefield.api.forecast import weights_of
from scorefield.api.free_memory import available as available_memory
from scorefield.api.outlook import Outlook, gigabytes, outlook
from scorefield.api.resolve import Plan, resolve
from scorefield.errors import MachineError, MissingError
from scorefield.model.spec import ModelSpec
from scorefield.model.system import System
from scorefield.notes import collecting
from scorefield.prompt.rules import Count, Rules
from scorefield.request import ModelChoice, Request
from scorefield.stages.diffusion import Diffusion, only_stage
from scorefield.zoo import OpenedModel, available
from scorefield.zoo.model_folders import find, models_in


class UnknownModelError(MissingError):
    """A model of a name that the shelf does not have."""


class Shelf:
    """Models by name: those that ship, and those in the operator's folders. Threads may share it.

    `machine` is a model choice of the operator's: device, dtype, offload and so on. A client chooses the name alone.
    """

    def __init__(self, folders: tuple[Path, ...], machine: ModelChoice, budget_bytes: int | None) -> None:
        self._folders, self._machine, self._budget = folders, machine, budget_bytes
        self._systems: OrderedDict[str, System] = OrderedDict()  # the one used last at the end
        self._opened: dict[str, OpenedModel] = {}
        self._lock, self._loading = threading.RLock(), threading.Lock()

    def names(self) -> list[str]:
        """All models, those that ship first."""
        return [*(spec.name for spec in available()), *models_in(self._folders)]

    def specs(self) -> dict[str, ModelSpec]:
        """The models that ship, by name, as data."""
        return {spec.name: spec for spec in available()}

    def options(self, name: str) -> list[str]:
        """The options that a model takes."""
        system = self._known(name)
        return sorted({field for stage in system.stages for group in stage.takes for field in group.model_fields})

    def size_multiple(self, name: str) -> int | None:
        """What both sides of a model's outputs are multiples of, px; None for a model of several stages."""
        stages = self._known(name).stages
        return stages[0].spec.size_multiple if len(stages) == 1 and isinstance(stages[0], Diffusion) else None

    def read(self, name: str, prompt: str) -> tuple[Count, Mapping[str, Sequence[str]]]:
        """How a model reads a prompt: its length, and the words it does not know, each with the nearest known ones.

        RequestError for a prompt that it would refuse.
        """
        stage = only_stage(self._known(name).stages)
        rules = Rules(long_prompt=stage.spec.defaults.long_prompt)
        return stage.conditioner.counts([prompt], rules)[0], stage.conditioner.unknown([prompt])

    def outlook(self, request: Request) -> Outlook:
        """The memory of a request, and whether this machine has it."""
        opened = self._open(request.model)
        asked = request.model_copy(update={name: getattr(opened.choice, name) for name in ModelChoice.model_fields})
        return outlook(asked, opened)

    def loaded(self) -> dict[str, int]:
        """The models in memory, and their sizes in bytes."""
        with self._lock:
            return {name: weights_of(system) for name, system in self._systems.items()}

    def plan(self, request: Request) -> Plan:
        """Resolve a request, without its model's weights if they are large; errors are those of `prepare`."""
        system = self._known(request.model)
        return resolve(_drawing(request, system), system)

    def system(self, name: str) -> System:
        """The loaded model of that name; MachineError if it does not fit, even alone."""
        with self._loading:  # one at a time; meanwhile everything else is answered
            if (system := self._used(name)) is None:
                opened = self._open(name)
                if opened.is_large:
                    self._make_room(weights_of(opened.trial))
                    _check_memory(opened.trial)
                with collecting():
                    system = _named(opened.load(), name)
                with self._lock:
                    self._make_room(weights_of(system))
                    self._systems[name] = system
            return system

    def unload(self, name: str) -> None:
        """Free a model's memory once nobody draws with it."""
        with self._lock:
            self._systems.pop(name, None)
            self._opened.pop(name, None)

    def _known(self, name: str) -> System:
        """The model, which has no weights if they are large and not loaded."""
        if (system := self._used(name)) is None:
            opened = self._open(name)
            system = _named(opened.trial, name) if opened.is_large else self.system(name)
        return system

    def _used(self, name: str) -> System | None:
        """The model, if it is loaded; it is now the one that was used last."""
        with self._lock:
            if name in self._systems:
                self._systems.move_to_end(name)
            return self._systems.get(name)

    def _open(self, name: str) -> OpenedModel:
        """A model whose files are found and recognised; UnknownModelError for another name."""
        with self._lock:
            if (opened := self._opened.get(name)) is None:
                with collecting():
                    opened = self._opened[name] = OpenedModel(self._choice(name))
            return opened

    def _choice(self, name: str) -> ModelChoice:
        embedded = any(spec.name == name for spec in available())
        path = name if embedded else find(name, self._folders)
        if path is None:
            raise UnknownModelError(f"no model {name[:80]!r} here; there are {', '.join(self.names())}")
        return self._machine.model_copy(update={"model": str(path)})

    def _make_room(self, size: int) -> None:
        with self._lock:
            while self._budget is not None and self._systems and sum(self.loaded().values()) + size > self._budget:
                self._systems.popitem(last=False)


def _check_memory(hollow: System) -> None:
    """MachineError if the weights of a model are more than the memory that is free; `plan` knows better."""
    size, free = weights_of(hollow), available_memory(hollow.device)
    if free is not None and size > free:
        raise MachineError(f"{hollow.name} takes {gigabytes(size)} of memory and there is {gigabytes(free)}")


def _drawing(request: Request, system: System) -> Request:
    """The request with what the model was loaded with."""
    loaded = {name: getattr(system.choice, name) for name in ModelChoice.model_fields}
    return request.model_copy(update=loaded)


def _named(system: System, name: str) -> System:
    """The system under the name that clients know; its path is the operator's."""
    return replace(system, choice=system.choice.model_copy(update={"model": name}), loaded_as=None)
