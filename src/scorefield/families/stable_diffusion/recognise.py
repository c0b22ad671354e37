"""Whether a picture can be drawn with the files of a Stable Diffusion."""

from collections.abc import Iterable, Mapping

from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import Family, Kind, Task
from scorefield.weights.diffusers_folder import Json

_PARTS = {  # of the models that can be drawn with; a file with another part is none of them
    "unet",
    "unet_ema",
    "vae",
    "text_encoder",
    "text_encoder_2",
    "image_encoder",
    "image_normalizer",
    "noise_augmentor",
}
_LEVELS: Mapping[str, Json] = {  # of every model here: a folder's scheduler says the same, or nothing
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "trained_betas": None,
}


def refusal(checkpoint: Checkpoint, known: Iterable[Family] | None) -> str | None:
    """Why no picture can be drawn with the files, in words that follow their path; None if one can.

    It may lack parts, which a choice may bring. `known` None stands for any family.
    """
    found = checkpoint.identity
    scheduler = checkpoint.pipeline.scheduler or {} if checkpoint.is_folder else {}
    if other := first_other(scheduler, _LEVELS):
        return f"was trained on other levels of noise: its scheduler has {other}"
    named = found.family if found.family is not Family.UNKNOWN else found.resembles or "of no family that is known"
    if found.kind not in (Kind.CHECKPOINT, Kind.PIPELINE):
        what = f"{found.kind} ({named})" if found.kind is not Kind.UNKNOWN else f"no model that is known; it is {named}"
        return f"is not a whole Stable Diffusion but {what}: `scorefield inspect` tells more"
    stated = found.kind is Kind.PIPELINE and found.family is Family.UNKNOWN and found.facts  # folders state their sizes
    if known is not None and found.family not in known and not stated:
        return f"is {named}, with which nothing can be drawn; what can: {', '.join(known)}"
    if found.task not in (Task.TEXT, Task.INPAINTING, Task.VARIATION):
        task = found.task or "another task"
        return f"is {named} for {task}; only those for text to image, inpainting and variation can be drawn with"
    if extra := found.parts.keys() - _PARTS:
        return f"is {named} with a part that is not known here: {', '.join(sorted(extra))}"
    return None


def first_other(scheduler: Mapping[str, Json], expected: Mapping[str, Json]) -> str | None:
    """The first setting that `scheduler` states otherwise than `expected`, with its value; None if there is none."""
    return next(
        (f"{name} {scheduler[name]}" for name, value in expected.items() if scheduler.get(name, value) != value), None
    )
