"""A model with the LoRAs of a request, which must be the very files that the request means."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from scorefield import zoo
from scorefield.api.recorded import check_hash
from scorefield.errors import RequestError
from scorefield.request import Lora

_MOST_KEYS = 3  # that a warning names


class UnusedKeysWarning(UserWarning):
    """A LoRA holds keys that belong to no layer of the model."""


def with_loras(model: zoo.Model, loras: Sequence[Lora]) -> zoo.Model:
    """`model` with `loras`.

    RequestError if one is for another model, or is not the file whose hash the request has. DamagedError
     for files that are damaged or do not fit.
    """
    if not loras:
        return model
    try:
        changed = zoo.with_loras(model, with_scales(loras))
    except zoo.UnsupportedError as error:
        raise RequestError(str(error)) from None
    for requested, applied in zip(loras, changed.loras, strict=True):
        check_hash(requested.path, applied.sha256, requested.sha256, "LoRA")
    return changed


def warn_unused(model: zoo.Model, stacklevel: int) -> None:
    """An UnusedKeysWarning for each LoRA of `model` with keys of no layer; `stacklevel` as in warnings.warn."""
    for lora in model.loras:
        if lora.unused:
            _warn(lora, stacklevel + 1)


def with_scales(loras: Sequence[Lora]) -> list[tuple[str, zoo.Scales]]:
    """The paths of LoRAs with their scales; RequestError for a path that ends in a colon and no number."""
    for lora in loras:
        path, colon, scale = lora.path.rpartition(":")
        if colon and Path(path).exists() and not Path(lora.path).exists():
            raise RequestError(f"{lora.path}: a scale follows the colon, which is a number, not {scale!r}")
    return [(lora.path, zoo.Scales(*lora.scales)) for lora in loras]


def loras_of(model: zoo.Model) -> tuple[Lora, ...]:
    """The LoRAs of `model`, as a request records them."""
    return tuple(_as_requested(one) for one in model.loras)


def has_loras(model: zoo.Model, loras: Sequence[Lora]) -> bool:
    """Whether the LoRAs of `model` are these, in this order, and no others."""
    return len(loras) == len(model.loras) and all(
        (one.path, one.scales, one.sha256 or applied.sha256) == (applied.path, applied.scales, applied.sha256)
        for one, applied in zip(loras, model.loras, strict=True)
    )


def _as_requested(lora: zoo.AppliedLora) -> Lora:
    (unet, text) = lora.scales
    return Lora(path=lora.path, scale=unet, text_scale=None if text == unet else text, sha256=lora.sha256)


def _warn(lora: zoo.AppliedLora, stacklevel: int) -> None:
    names = ", ".join(lora.unused[:_MOST_KEYS]) + (", ..." if len(lora.unused) > _MOST_KEYS else "")
    many = "1 key is" if len(lora.unused) == 1 else f"{len(lora.unused)} keys are"
    message = f"{lora.path}: {many} of no layer of this model and not used ({names})"
    warnings.warn(message, UnusedKeysWarning, stacklevel + 1)
