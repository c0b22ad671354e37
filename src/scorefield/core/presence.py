"""Networks on demand: their weights are read for their turn, and freed after it, so that memory holds one at a time."""

import copy
import ctypes
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
State = dict[str, Tensor]  # the tensors of a network by name


def mark_late(net: nn.Module) -> None:
    """Mark a network without numbers that will be read only if it is needed."""
    net.late = True  # type: ignore[assignment]


def is_late(net: nn.Module) -> bool:
    """Whether a network was marked so."""
    return bool(getattr(net, "late", False))


class Turns(ABC):
    """The turns of a network whose weights are in memory only within one."""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within this, the network has its weights."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """A copy of a network within a turn, such as one in float32, is used within that turn."""
        return self

    @abstractmethod
    def _begin(self, *_: object) -> None: ...

    @abstractmethod
    def _end(self, *_: object) -> None: ...


class OnDemand(Turns, Generic[M]):
    """The turns of `net`, a network on the device "meta", whose weights `read` returns; it is `net.on_demand`.

    `part` is what users call it.

    The weights are read when a first turn begins. They are freed when the last one ends, or with `keep` never. Threads
    may share it: turns overlap, and nobody begins one while the weights are read.
    """

    def __init__(self, net: M, read: Callable[[], State], *, keep: bool = False, part: str = "network") -> None:
        self.part = part
        self._net, self._read, self._keep = net, read, keep
        self._hollow: State = dict(net.state_dict(keep_vars=True))
        self._lock = threading.Lock()
        self._turns, self._filled = 0, False
        net.on_demand = self  # type: ignore[assignment]
        net.register_forward_pre_hook(self._begin)  # a call outside a turn is a turn of its own
        net.register_forward_hook(self._end, always_call=True)

    @property
    def absent(self) -> bool:
        """Whether the next turn will read the weights."""
        return not self._filled

    def changed(self, change: Callable[[State], None]) -> M:
        """A copy of the network, on demand too, whose weights are what `change` makes of them after each reading."""

        def read() -> State:
            state = self._read()
            change(state)
            return state

        with self._lock:
            held = {**dict(self._net.named_parameters()), **dict(self._net.named_buffers())}
            memo: dict[int, object] = {id(tensor): self._hollow.get(name) for name, tensor in held.items()}
            made = copy.deepcopy(self._net, memo)
        made._forward_pre_hooks.clear()  # those of the turns of this network
        made._forward_hooks.clear()
        OnDemand(made, read, keep=self._keep, part=self.part)
        return made

    @torch.inference_mode(False)  # the weights are filled by threads that are in no such mode
    def _begin(self, *_: object) -> None:
        with self._lock:
            if not self._filled:
                self._net.load_state_dict(self._read(), assign=True)
                self._filled = True
            self._turns += 1

    @torch.inference_mode(False)
    def _end(self, *_: object) -> None:
        with self._lock:
            self._turns -= 1
            if not self._turns and not self._keep:
                self._net.load_state_dict(self._hollow, assign=True)
                self._filled = False
                _return_freed()


class Alternating(Turns):
    """The turns of `owner`, which calls one of several `nets` at a time: within a turn the last one called has weights.

    It is `owner.on_demand`, if the networks are on demand. Walks of several threads share what is in memory.
    """

    def __init__(self, owner: nn.Module, nets: Sequence[nn.Module]) -> None:
        self.nets = nets
        self._lock = threading.Lock()
        self._turns = 0
        self._now: OnDemand[nn.Module] | None = None  # which has weights because it was called last
        if all(on_demand(net) is not None for net in nets):
            owner.on_demand = self  # type: ignore[assignment]
            for net in nets:
                net.register_forward_pre_hook(self._change, prepend=True)  # frees before the other is read

    def _begin(self, *_: object) -> None:
        with self._lock:
            self._turns += 1

    def _end(self, *_: object) -> None:
        with self._lock:
            self._turns -= 1
            if not self._turns:
                self._free()

    def _change(self, net: nn.Module, *_: object) -> None:
        with self._lock:
            called = on_demand(net)
            if self._turns and called is not None and called is not self._now:
                self._free()
                called._begin()
                self._now = called

    def _free(self) -> None:
        if self._now is not None:
            self._now._end()
            self._now = None


def _return_freed() -> None:
    """Give freed memory back to the system: glibc keeps it, so that the next network would come on top of this one."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def on_demand(net: nn.Module) -> OnDemand[nn.Module] | None:
    """The turns of a network on demand; None for one that is always in memory."""
    found = getattr(net, "on_demand", None)
    return found if isinstance(found, OnDemand) else None


def awaited(*owners: object) -> Iterator[str]:
    """The parts that will be read when these networks and codecs have their turns, in order."""
    for owner in owners:
        found = getattr(owner, "on_demand", None)
        if isinstance(found, OnDemand) and found.absent:
            yield found.part


def present(owner: object) -> AbstractContextManager[None]:
    """Within this, a network or a codec's has its weights, whether it is on demand or not; turns may be nested."""
    found = getattr(owner, "on_demand", None)
    return found.turn() if isinstance(found, Turns) else nullcontext()
