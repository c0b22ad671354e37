"""The models: frozen specs of what is embedded and published, and how each is built."""

import difflib
import os
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from scorefield.adapters.compiled import compiled
from scorefield.adapters.lora_weights import with_loras
from scorefield.adapters.textual_inversion_words import with_embeddings
from scorefield.errors import MissingError, UnsupportedError
from scorefield.families.scenes import build_scenes
from scorefield.families.stable_diffusion.build_stable import kinds, stable
from scorefield.model.spec import PLAIN, Choice, Defaults, ModelSpec
from scorefield.model.system import AppliedLora, LearnedWord, Model
from scorefield.weights.lora.merge import Scales
from scorefield.zoo import hub

__all__ = [
    "AppliedLora",
    "Choice",
    "Defaults",
    "LearnedWord",
    "MissingError",
    "Model",
    "ModelSpec",
    "Scales",
    "UnsupportedError",
    "available",
    "compiled",
    "kinds",
    "load",
    "with_embeddings",
    "with_loras",
]


def available() -> tuple[ModelSpec, ...]:
    """Every model that can be loaded by name."""
    return (build_scenes.spec(),)


@torch.inference_mode(False)  # threads fill a model, where it is off, and a model outlives the block that it is on in
def load(
    name: str = build_scenes.SCENES.name,
    device: str = "auto",
    dtype: str = "auto",
    prediction: str | None = None,
    choice: Choice = PLAIN,
    *,
    hollow: bool = False,
) -> Model:
    """Load the embedded model by its name, or a Stable Diffusion by its path or its name on the Hugging Face hub.

    A path that exists wins over a name on the hub, `owner/name` or `hf:owner/name@revision:file`: see `hub.named`.

    - `device`: "auto" (CUDA where there is one), "cpu", "cuda", ...
    - `dtype`: "float32", "bfloat16", on a GPU "float16", or "auto": float16 for files on CUDA, else float32.
    - `prediction`: "eps" or "v", for files that do not say what their network predicts.
    - `choice`: which of the model's files and weights to take, where there are several.
    - `hollow`: read names and shapes alone of files, to try a request: the model has no numbers, its tensors are on the
      device "meta", and it refuses what the whole one would.

    MissingError for a name that is no path; DamagedError for files that are damaged or that the hub
    does not give; UnsupportedError for what is no model that can be drawn with.
    """
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    number_format = _number_format(dtype, where, published=name != build_scenes.SCENES.name)
    if name == build_scenes.SCENES.name:
        if prediction is not None:
            raise UnsupportedError(f"{name} predicts what it was trained for; a prediction is said of files only")
        if choice != PLAIN:
            raise UnsupportedError(f"{name} is of one piece; a variant, a vae or ema is chosen of files only")
        return build_scenes.scenes(where, number_format)
    place = torch.device("meta") if hollow else where
    if not os.path.exists(name) and (hub_name := hub.named(name)):
        path, pinned = hub.fetch(hub_name, choice.variant)
        model = stable(path, place, number_format, prediction, choice=choice)
        return replace(model, device=where, spec=replace(model.spec, name=str(pinned), loaded_as=name))
    if _is_path(name):
        model = stable(Path(name), place, number_format, prediction, choice=choice)
        # As it was written: Path("./x") would be "x".
        return replace(model, device=where, spec=replace(model.spec, name=name))
    known = (build_scenes.SCENES.name,)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known
    others = "or give a path, or owner/name of the Hugging Face hub"
    raise MissingError(f"no model {name!r}; there is {', '.join(near)}, {others}")


def _number_format(dtype: str, device: torch.device, *, published: bool) -> torch.dtype:
    """The torch.dtype that `dtype` names; UnsupportedError for float16 on a CPU, which has no arithmetic for it.

    "auto" is float16 for a published model on CUDA, where it takes half of the memory and less time, else float32.
    """
    if dtype == "auto":
        return torch.float16 if published and device.type == "cuda" else torch.float32
    if device.type == "cpu" and dtype == "float16":
        raise UnsupportedError("float16 is for a GPU: on a CPU take float32, or bfloat16 for half of the memory")
    return cast(torch.dtype, getattr(torch, dtype))


def _is_path(name: str) -> bool:
    """Whether a name is meant as a path, be it one that exists or not."""
    return os.path.basename(name) != name or name.endswith((".safetensors", ".ckpt")) or os.path.exists(name)
