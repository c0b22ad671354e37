"""A loaded model: its spec and its working parts."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scorefield.core.denoiser import Preconditioned
from scorefield.model.spec import ModelSpec
from scorefield.prompt.conditioner import Conditioner
from scorefield.weights.lora.merge import Scales


class Codec(Protocol):
    """Pixels (B, 3, H, W) in [-1, 1] to latents of unit variance and back; scale and shift live here alone."""

    @property
    def size_factor(self) -> int: ...  # pixels per latent along a side
    def shape(self, width: int, height: int) -> tuple[int, int, int]: ...
    def encode(self, pixels: Tensor) -> Tensor: ...
    def decode(self, x0: Tensor) -> Tensor: ...
    def preview(self, x0: Tensor) -> Tensor: ...


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
    unused: tuple[str, ...]  # its keys that are of no layer of the model


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model ready to sample. It keeps no state between calls, so threads may share it."""

    spec: ModelSpec
    denoiser: Preconditioned
    conditioner: Conditioner
    codec: Codec
    device: torch.device
    dtype: torch.dtype
    sha256: str  # of all that it was loaded from, except textual inversions and LoRAs
    embeddings: tuple[LearnedWord, ...] = ()
    loras: tuple[AppliedLora, ...] = ()
    compiled: bool = False  # whether torch.compile runs the denoiser's network
