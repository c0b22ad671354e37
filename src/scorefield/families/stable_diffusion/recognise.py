"""What a file or folder is, and whether a picture can be drawn with it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from scorefield.errors import UnsupportedError
from scorefield.input_files import Json
from scorefield.weights import torch_pickle
from scorefield.weights.detect.identify import identify_file, identify_folder
from scorefield.weights.detect.identity import AnyIdentity, Family, Kind, ModelIdentity, Task
from scorefield.weights.diffusers_folder import is_diffusers_folder, read_folder
from scorefield.weights.reader import Reader

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


def identify(path: Path, variant: str | None = None) -> AnyIdentity:
    """What the file or folder at `path` is.

    UnsupportedError for a folder whose model was trained on other levels of noise, DamagedError for damaged files.
    """
    if not is_diffusers_folder(path):
        return identify_file(Reader(path, variant).index)
    pipeline = read_folder(path, variant, pickled=torch_pickle.read_index)
    if other := first_other(pipeline.scheduler or {}, _LEVELS):
        raise UnsupportedError(f"{path} was trained on other levels of noise: its scheduler has {other}")
    return identify_folder(pipeline)


def identify_drawable(path: Path, *, known: Iterable[Family] | None, variant: str | None = None) -> ModelIdentity:
    """What the file or folder at `path` is, if a picture can be drawn with it: a whole model of a family in `known`.

    `known` None stands for any family. UnsupportedError for anything else; errors otherwise as of `identify`.
    """
    found = identify(path, variant)
    reason = refusal(found, known)
    if reason or not isinstance(found, ModelIdentity):
        raise UnsupportedError(f"{path} {reason}")
    return found


def refusal(found: AnyIdentity, known: Iterable[Family] | None) -> str | None:
    """Why no picture can be drawn with what was found, in words that follow its path; None if one can."""
    named = found.family if found.family is not Family.UNKNOWN else found.resembles or "of no family that is known"
    if not isinstance(found, ModelIdentity) or found.kind is Kind.UNET:
        what = f"{found.kind} ({named})" if found.kind is not Kind.UNKNOWN else f"no model that is known; it is {named}"
        return f"is not a whole Stable Diffusion but {what}: `scorefield inspect` tells more"
    stated = (
        found.kind is Kind.PIPELINE and found.family is Family.UNKNOWN and found.channels
    )  # folders state their sizes
    if known is not None and found.family not in known and not stated:
        return f"is {named}, with which nothing can be drawn; what can: {', '.join(known)}"
    if found.task not in (Task.TEXT, Task.INPAINTING, Task.VARIATION):
        task = found.task or "another task"
        return f"is {named} for {task}; only those for text to image, inpainting and variation can be drawn with"
    if found.missing:
        return f"lacks its {' and its '.join(found.missing)}; get it whole"
    if extra := found.parts.keys() - _PARTS:
        return f"is {named} with a part that is not known here: {', '.join(sorted(extra))}"
    return None


def first_other(scheduler: Mapping[str, Json], expected: Mapping[str, Json]) -> str | None:
    """The first setting that `scheduler` states otherwise than `expected`, with its value; None if there is none."""
    return next(
        (f"{name} {scheduler[name]}" for name, value in expected.items() if scheduler.get(name, value) != value), None
    )
