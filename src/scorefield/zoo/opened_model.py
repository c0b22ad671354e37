"""From a choice to a loaded model: names, paths and the hub; number formats; LoRAs, learned words, compiled code."""

import difflib
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from scorefield.adapters.compiled import compiled
from scorefield.adapters.learned_words import open_word, with_embeddings
from scorefield.adapters.lora_weights import open_lora, with_loras
from scorefield.core.half_precision import has_bfloat16
from scorefield.errors import RequestError, UnsupportedError
from scorefield.model.family import Family
from scorefield.model.system import COMPUTED, Place, System, check_fork
from scorefield.notes import HalfPrecisionWarning, NoEffectWarning, collecting, note
from scorefield.request import ModelChoice
from scorefield.request.model_choice import Numerics
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import Kind, described
from scorefield.zoo import hub, registry
from scorefield.zoo.model_folders import find, listed_in_environment


class OpenedModel:
    """A model whose files are found, indexed and recognised; none of its weights are read yet.

    RequestError for an unknown name, MissingError or DamagedError for files that cannot be read, UnsupportedError for
    files that cannot be drawn with.
    """

    def __init__(self, choice: ModelChoice) -> None:
        self.asked = choice
        self.is_large = all(choice.model not in family.names for family in registry.FAMILIES)
        self.device = _device(choice.device)
        self.dtype = _number_format(choice.dtype, self.device, published=self.is_large)
        if self.dtype is torch.bfloat16 and self.device.type == "cpu" and not has_bfloat16(self.device):
            note(
                HalfPrecisionWarning,
                "this processor has no bfloat16 arithmetic, and emulates it 10 to 100 times slower than float32",
            )
        self.family, self.identity, name = _recognised(choice)
        self.choice = choice.model_copy(
            update={"model": name, "device": str(self.device), "dtype": str(self.dtype).removeprefix("torch.")}
        )
        if choice.compiled and choice.offload:
            raise RequestError("a compiled network cannot be offloaded; leave out one of the two", option="offload")
        if choice.offload and not self.is_large:
            note(NoEffectWarning, f"{name} is small and stays in memory: offload changes nothing for it")
        self.loras = [open_lora(one) for one in choice.loras]
        self.words = [open_word(one) for one in choice.embeddings]
        self._tried: dict[str, nn.Module] = {}

    @cached_property
    def trial(self) -> System:
        """The hollow model, which refuses what the whole one would only after gigabytes are read."""
        system = self._built(hollow=True)
        return replace(system, choice=system.choice.model_copy(update={"compiled": self.asked.compiled}))

    def load(self) -> System:
        """The whole model."""
        system = self._built(hollow=False)
        return compiled(system) if self.asked.compiled else system

    @torch.inference_mode(False)  # the mode is off in the threads that fill a model, and a model outlives the block
    def _built(self, *, hollow: bool) -> System:
        if COMPUTED.process != os.getpid():
            check_fork()
        plain = self.choice.model_copy(update={"loras": (), "embeddings": (), "compiled": False})
        place = Place(
            device=self.device,
            dtype=self.dtype,
            hollow=hollow,
            offload=self.asked.offload,
            cache=self.asked.cache,
            tried=self._tried,
        )
        system = self.family.build(self.identity, plain, place)
        _check_taken(plain, system)
        if self.choice.model != self.asked.model:
            system = replace(system, loaded_as=self.asked.model)
        if self.loras:
            system = with_loras(system, self.loras)
        return with_embeddings(system, self.words) if self.words else system


def _check_taken(choice: ModelChoice, system: System) -> None:
    """RequestError for a choice that no stage of the model was built by."""
    for name in Numerics.model_fields:
        if getattr(choice, name) is not None and not any(Numerics in stage.takes for stage in system.stages):
            raise RequestError(f"{name} is not an option of the model {system.name}; {Numerics.instead}", option=name)


def load(choice: ModelChoice) -> System:
    """Load a model; large ones are tried first, which takes a second, and refused before gigabytes are read."""
    opened = OpenedModel(choice)
    if opened.is_large:
        with collecting():  # loading gives the same notes again
            _ = opened.trial
    return opened.load()


def _recognised(choice: ModelChoice) -> tuple[Family[Any], Any, str]:
    """The family of a model, its identity there, and the name to record."""
    name = choice.model
    for family in registry.FAMILIES:
        if name in family.names:
            return family, family.names[name], name
    path = Path(name)
    if not os.path.exists(name) and (hub_name := hub.named(name)):
        path, pinned = hub.fetch(hub_name, choice.variant)
        name = str(pinned)
    elif not _is_path(name) and (found_path := find(name, listed_in_environment())) is not None:
        path, name = found_path, str(found_path)
    elif not _is_path(name):
        near = difflib.get_close_matches(name, registry.names(), n=3, cutoff=0.3) or registry.names()
        others = "a path, or owner/name on the Hugging Face hub"
        raise RequestError(f"no model {name!r}; give {', '.join(near)}, {others}", option="model")
    checkpoint = Checkpoint(path, choice.variant)
    for family in registry.FAMILIES:
        if (identity := family.recognise(checkpoint)) is not None:
            return family, identity, name
    found = checkpoint.identity
    if found.kind in (Kind.CHECKPOINT, Kind.PIPELINE):
        what = f"a {described(found)} that cannot be drawn with"
        raise UnsupportedError(f"{path} is {what}: `scorefield models` lists those that can")
    raise UnsupportedError(f"{path} is not a whole model but {described(found)}: `scorefield inspect` says more")


def _device(name: str) -> torch.device:
    """The device of that name; RequestError if this machine does not have it."""
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type == "mps":
        count = int(torch.backends.mps.is_available())
    if (device.index or 0) >= count:
        raise RequestError(f"there is no device {name} here; use cpu, or auto", option="device")
    return device


def _number_format(dtype: str, device: torch.device, *, published: bool) -> torch.dtype:
    """The torch.dtype that `dtype` names; RequestError for float16 on a CPU, which has no arithmetic for it.

    "auto" is float16 for a published model on CUDA, where it takes half the memory and less time, else float32.
    """
    if dtype == "auto":
        return torch.float16 if published and device.type == "cuda" else torch.float32
    if device.type == "cpu" and dtype == "float16":
        raise RequestError("float16 needs a GPU; on a CPU use float32, or bfloat16 for half the memory", option="dtype")
    return cast(torch.dtype, getattr(torch, dtype))


def _is_path(name: str) -> bool:
    """Whether a name is meant as a path, existing or not."""
    return os.path.basename(name) != name or name.endswith((".safetensors", ".ckpt")) or os.path.exists(name)
