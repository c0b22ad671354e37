"""Whether a picture can be drawn with the files of a Stable Diffusion."""

from collections.abc import Iterable, Mapping

from scorefield.errors import UnsupportedError
from scorefield.input_files import Json
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import Family, Kind, ModelIdentity, Task

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


def whole_model(checkpoint: Checkpoint, known: Iterable[Family] | None) -> ModelIdentity | None:
    """The model in the files, None if they are no whole one; it may lack parts, which a choice may bring.

    `known` None accepts any family. UnsupportedError for one that no picture can be drawn with.
    """
    found = checkpoint.identity
    if not isinstance(found, ModelIdentity) or found.kind is Kind.UNET:
        return None
    if reason := _refusal(checkpoint, found, known):
        raise UnsupportedError(f"{checkpoint.path} {reason}")
    return found


def _refusal(checkpoint: Checkpoint, found: ModelIdentity, known: Iterable[Family] | None) -> str | None:
    """Why no picture can be drawn with the files, in words that follow their path; None if one can."""
    scheduler = checkpoint.folder.scheduler or {} if checkpoint.is_folder else {}
    if other := first_other(scheduler, _LEVELS):
        return f"was trained on other levels of noise: its scheduler has {other}"
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


def first_other(scheduler: Mapping[str, Json], expected: Mapping[str, Json]) -> str | None:
    """The first setting that `scheduler` states otherwise than `expected`, with its value; None if there is none."""
    return next(
        (f"{name} {scheduler[name]}" for name, value in expected.items() if scheduler.get(name, value) != value), None
    )
