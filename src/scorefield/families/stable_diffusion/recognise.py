"""Whether a picture can be drawn with the files of a Stable Diffusion."""

from collections.abc import Iterable

from scorefield.errors import UnsupportedError
from scorefield.families.stable_diffusion.settings import check
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import Family, Kind, ModelIdentity, Task
from scorefield.weights.model_files import components

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


def whole_model(checkpoint: Checkpoint, known: Iterable[Family] | None) -> ModelIdentity | None:
    """The model in the files, None if they are no whole one; it may lack parts, which a choice may bring.

    `known` None accepts any family. UnsupportedError for one that no picture can be drawn with.
    """
    found = checkpoint.identity
    if not isinstance(found, ModelIdentity) or found.kind is Kind.UNET:
        return None
    if reason := _refusal(checkpoint, found, known):
        raise UnsupportedError(f"{checkpoint.path} {reason}")
    if checkpoint.is_folder:
        _check_settings(checkpoint)
    return found


def _check_settings(checkpoint: Checkpoint) -> None:
    """Of the pipeline and its scheduler; those of the networks are checked when their sizes are read."""
    index = checkpoint.folder.model_index
    check(checkpoint.path, "pipeline", {name: value for name, value in index.items() if not isinstance(value, list)})
    if name := components(checkpoint.path, index).get("scheduler"):
        check(checkpoint.path, "scheduler", {"_class_name": name})
    check(checkpoint.path, "scheduler", checkpoint.folder.scheduler or {})


def _refusal(checkpoint: Checkpoint, found: ModelIdentity, known: Iterable[Family] | None) -> str | None:
    """Why no picture can be drawn with the files, in words that follow their path; None if one can."""
    named = found.family if found.family is not Family.UNKNOWN else found.resembles or "of no family that is known"
    states_its_sizes = found.kind is Kind.PIPELINE and found.family is Family.UNKNOWN and found.channels
    if known is not None and found.family not in known and not states_its_sizes:
        return f"is {named}, with which nothing can be drawn; what can: {', '.join(known)}"
    if found.task not in (Task.TEXT, Task.INPAINTING, Task.VARIATION):
        task = found.task or "another task"
        return f"is {named} for {task}; only those for text to image, inpainting and variation can be drawn with"
    if extra := found.parts.keys() - _PARTS:
        return f"is {named} with a part that is not known here: {', '.join(sorted(extra))}"
    return None
