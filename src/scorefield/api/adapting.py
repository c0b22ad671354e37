"""A model with the LoRAs of a request: they must be the files that it means, and keys that are not used are told."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from scorefield import zoo
from scorefield.request import Lora, RequestError

_MOST_KEYS = 3  # that a warning names


class UnusedKeysWarning(UserWarning):
    """A LoRA holds keys that are of no layer of the model."""


def adapted(model: zoo.Model, loras: Sequence[Lora]) -> zoo.Model:
    """`model` with `loras`; RequestError if they are for another, or not the recorded files.

    weights.folder.SourceError for files that are damaged or do not fit.
    """
    if not loras:
        return model
    try:
        made = zoo.with_loras(model, scaled(loras))
    except zoo.NotLoadableError as error:
        raise RequestError(str(error)) from None
    for asked, found in zip(loras, made.loras, strict=True):
        if asked.sha256 not in (None, found.sha256):
            raise RequestError(
                f"{asked.path} has changed: its hash is {found.sha256[:10]}, that of the LoRA which is asked for is "
                f"{asked.sha256[:10]}"
            )
    return made


def warn_unused(model: zoo.Model, stacklevel: int) -> None:
    """UnusedKeysWarning for each LoRA of `model` that has keys of no layer; `stacklevel` as in warnings.warn."""
    for lora in model.loras:
        if lora.unused:
            _warn(lora, stacklevel + 1)


def scaled(loras: Sequence[Lora]) -> list[tuple[str, zoo.Scales]]:
    """LoRAs as `zoo` takes them; RequestError for a path that is one with a scale which is no number."""
    for lora in loras:
        path, colon, scale = lora.path.rpartition(":")
        if colon and Path(path).exists() and not Path(lora.path).exists():
            raise RequestError(f"{lora.path}: a scale follows the colon, which is a number, not {scale!r}")
    return [(lora.path, zoo.Scales(*lora.scales)) for lora in loras]


def applied(model: zoo.Model) -> tuple[Lora, ...]:
    """The LoRAs that `model` has, as a request records them."""
    return tuple(_asked(one) for one in model.loras)


def has(model: zoo.Model, loras: Sequence[Lora]) -> bool:
    """Whether the LoRAs of `model` are just these."""
    return len(loras) == len(model.loras) and all(
        (one.path, one.scales, one.sha256 or found.sha256) == (found.path, found.scales, found.sha256)
        for one, found in zip(loras, model.loras, strict=True)
    )


def _asked(found: zoo.AppliedLora) -> Lora:
    (unet, text) = found.scales
    return Lora(path=found.path, scale=unet, text_scale=None if text == unet else text, sha256=found.sha256)


def _warn(found: zoo.AppliedLora, stacklevel: int) -> None:
    names = ", ".join(found.unused[:_MOST_KEYS]) + (", ..." if len(found.unused) > _MOST_KEYS else "")
    many = "1 key is" if len(found.unused) == 1 else f"{len(found.unused)} keys are"
    message = f"{found.path}: {many} of no layer of this model and not used ({names})"
    warnings.warn(message, UnusedKeysWarning, stacklevel + 1)
