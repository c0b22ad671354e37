"""Models for tests: by the family's own hands, with networks of any size, and with LoRAs and words by their paths."""

from collections.abc import Sequence
from pathlib import Path

import torch

from scorefield import zoo
from scorefield.adapters import learned_words, lora_weights
from scorefield.families.stable_diffusion.build import StableDiffusion, recognised
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.model.system import Place, System
from scorefield.request import ModelChoice, parse_choice
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.lora.merge import Scales

CPU = torch.device("cpu")


def load(model: str = "scenes", **choice: object) -> System:
    """The model of that name or path."""
    return zoo.load(parse_choice({"model": model, **choice}))


def stable(
    path: Path, device: torch.device = CPU, dtype: torch.dtype = torch.float32, prediction: str | None = None,
    networks: Networks | None = None, *, ema: bool = False, vae: str | None = None, hollow: bool = False,
) -> System:  # fmt: skip
    """A Stable Diffusion, whose `networks` may be of any size."""
    checkpoint, family = Checkpoint(path), StableDiffusion()
    identity = recognised(checkpoint, networks) if networks else family.recognise(checkpoint)
    choice = ModelChoice(model=str(path), device="cpu", dtype=str(dtype).removeprefix("torch."), ema=ema, vae=vae)
    choice = choice.model_copy(update={"prediction": prediction})
    return family.build(identity, choice, Place(device=device, dtype=dtype, hollow=hollow))


def opened(loras: Sequence[tuple[str, Scales]]) -> list[lora_weights.OpenedLora]:
    """The LoRAs at those paths."""
    asked = [(path, {"unet": scales.unet, "te": scales.text}) for path, scales in loras]
    return [lora_weights.open_lora(one) for one in parse_choice({"loras": asked}).loras]


def with_loras(system: System, loras: Sequence[tuple[str, Scales]]) -> System:
    """The model with the LoRAs at those paths."""
    return lora_weights.with_loras(system, opened(loras))


def with_embeddings(system: System, embeddings: Sequence[tuple[str, str | None]]) -> System:
    """The model with the words at those paths."""
    asked = [{"path": path, "token": token} for path, token in embeddings]
    words = [learned_words.open_word(one) for one in parse_choice({"embeddings": asked}).embeddings]
    return learned_words.with_embeddings(system, words)
