"""A loaded model: its stages, in order, what it was loaded from, and the process that it computes in."""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from scorefield.errors import MachineError
from scorefield.model.stage import Stage
from scorefield.request import ModelChoice
from scorefield.weights.lora.merge import Scales

_IMPORTED_IN = os.getpid()


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedWord:
    """A textual inversion that a model's conditioner knows."""

    token: str
    vectors: int  # each takes the place of one token in a prompt
    path: str
    sha256: str  # of its file


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedLora:
    """A LoRA that has been merged into a model's weights."""

    path: str
    scales: Scales
    sha256: str  # of its file
    unused: tuple[str, ...]  # its keys that belong to no layer of the model


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A model ready to draw. Each stage's output is given to the next; most systems have one stage.

    It keeps no state between calls, so threads may share it.
    """

    choice: ModelChoice  # what was loaded, with everything decided: a record keeps it
    stages: tuple[Stage[Any], ...]
    device: torch.device
    dtype: torch.dtype
    sha256: str  # of everything that it was loaded from, except textual inversions and LoRAs
    fixed: Mapping[str, object] = field(
        default_factory=dict
    )  # options that it does not take, with the values that always hold
    loaded_as: str | None = None  # the name that it was requested by, if the recorded name is more exact
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
    hollow: bool = False  # networks have names and shapes but no numbers, enough to try a request
    offload: bool = False  # networks have their numbers in their turns alone
    cache: bool = False  # hashes of files and vectors of prompts are remembered on the disk
    tried: dict[str, nn.Module] = field(default_factory=dict)  # hollow networks by part, which are filled next


class _Computed(threading.local):
    """The process in which a thread first computed: a fork copies it with the thread that forks."""

    process: int | None = None


COMPUTED = _Computed()


def check_fork() -> None:
    """Call before a thread first computes; MachineError in a forked process, where computing would hang.

    OpenMP keeps a pool of threads for each thread that computes; a fork copies the record of the pool, not its threads.
    One thread needs no pool, and a thread that is started in the forked process gets a new one.
    """
    here, threads = os.getpid(), torch.get_num_threads()
    if COMPUTED.process in (None, here):
        COMPUTED.process = here
    elif threads > 1:
        raise MachineError(
            "this process was forked from one that has loaded a model or drawn, and lacks its threads; call "
            "torch.set_num_threads(1) here first, or start processes with multiprocessing's spawn"
        )
    if here != _IMPORTED_IN:
        # PyTorch makes a new thread pool at the first call that needs one; two threads that both come first crash.
        torch.set_num_threads(threads)
