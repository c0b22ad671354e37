"""What a text encoder made of prompts, remembered on the disk, so that the encoder is not loaded for them again."""

import json

import torch
from safetensors.torch import load, save
from torch import Tensor

from scorefield.disk_cache import DiskCache

_STATES = "states"


class VectorCache:
    """The states (L, D) of one text encoder, by the ids (L,) of a prompt.

    The encoder is known by the hash of its weights. The same numbers come out to the bit, so whatever may round a sum
    otherwise is a part of the key: the dtype, the processor, its threads and the version of torch.
    """

    def __init__(
        self, cache: DiskCache, encoder: str, device: torch.device, dtype: torch.dtype, *, hollow: bool = False
    ) -> None:
        """`device` is that of the encoder. With `hollow`, states have no numbers, and nothing is put in."""
        self._cache, self._encoder, self._device, self._dtype = cache, encoder, device, dtype
        self._hollow = hollow

    def get(self, ids: Tensor) -> Tensor | None:
        """The states on the encoder's device; None for a prompt that is not remembered."""
        data = self._cache.get(self._key(ids))
        return None if data is None else load(data)[_STATES].to("meta" if self._hollow else self._device)

    def has(self, ids: Tensor) -> bool:
        """Whether a prompt is remembered."""
        return self._cache.has(self._key(ids))

    def put(self, ids: Tensor, states: Tensor) -> None:
        """Remember the states of a prompt, if they have numbers."""
        if self._hollow:
            return
        self._cache.put(self._key(ids), save({_STATES: states.contiguous().cpu()}))

    def _key(self, ids: Tensor) -> str:
        if self._device.type == "cuda":
            processor = [torch.cuda.get_device_name(self._device)]
        else:
            processor = [self._device.type, torch.backends.cpu.get_cpu_capability(), str(torch.get_num_threads())]
        return json.dumps([self._encoder, str(self._dtype), processor, torch.__version__, ids.tolist()])
