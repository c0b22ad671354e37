"""Identify a file or folder of weights by the names and shapes of its tensors alone."""

import json
from dataclasses import replace

from scorefield.errors import DamagedError
from scorefield.weights.checkpoint_layout import EMA, PARTS, UNET, ZERO_SNR, needed_parts
from scorefield.weights.detect.clip_shapes import identify_clip
from scorefield.weights.detect.identity import (
    AnyIdentity,
    Family,
    Kind,
    Layout,
    ModelIdentity,
    OwnIdentity,
    Prediction,
    UnknownIdentity,
    part,
    shown,
)  # fmt: skip
from scorefield.weights.detect.inversion_shapes import identify_inversion
from scorefield.weights.detect.lora_shapes import identify_lora
from scorefield.weights.detect.resemblance import resemblance
from scorefield.weights.detect.unet_shapes import STATED, UnetShapes, prediction, unet_shapes
from scorefield.weights.detect.vae_shapes import identify_vae
from scorefield.weights.diffusers_folder import DiffusersFolder
from scorefield.weights.tensor_index import TensorIndex

OWN = "scorefield"  # scorefield_file.KEY; importing that would import PyTorch, which is slow


def identify_file(index: TensorIndex) -> AnyIdentity:
    """Identify a file by its index; an UnknownIdentity says what an unknown one resembles most."""
    tensors = index.tensors
    return (
        _own(index)
        or identify_lora(index)
        or _checkpoint(index)
        or _unet(index)
        or identify_vae(tensors)
        or identify_clip(tensors)
        or identify_inversion(index)
        or UnknownIdentity(resembles=resemblance(tensors))
    )


def identify_folder(folder: DiffusersFolder) -> ModelIdentity:
    """Identify a diffusers pipeline by its U-Net; its prediction is the one that its scheduler states."""
    parts = {name: part(index.tensors, "") for name, index in folder.parts.items()}
    whole = ModelIdentity(kind=Kind.PIPELINE, layout=Layout.DIFFUSERS, parts=parts, missing=folder.missing)
    unet, scheduler = folder.parts.get("unet"), folder.scheduler or {}
    shapes = unet_shapes(unet.tensors) if unet else None
    if unet is None or shapes is None:
        return replace(whole, resembles=f"a {shown(folder.name)}")
    stated = scheduler.get("prediction_type", "epsilon") if folder.scheduler is not None else None
    output = prediction(shapes, unet)
    if stated:
        output = Prediction(STATED.get(str(stated)), f"its scheduler says {shown(str(stated))}")
    return _with_unet(whole, shapes, output, zero_snr=scheduler.get("rescale_betas_zero_snr") is True)


def _own(index: TensorIndex) -> OwnIdentity | None:
    if OWN not in index.metadata:
        return None
    try:
        kind = shown(str(json.loads(index.metadata[OWN])["kind"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DamagedError(f"{index.path} has a scorefield header that cannot be read; get it again") from None
    parts = {kind: part(index.tensors, "")}
    return OwnIdentity(family=Family.SCOREFIELD, layout=Layout.SCOREFIELD, parts=parts, holds=kind)


def _checkpoint(index: TensorIndex) -> ModelIdentity | None:
    tensors = index.tensors
    there = {prefix: name for prefix, name in PARTS.items() if any(key.startswith(prefix) for key in tensors)}
    if UNET not in there:
        return None
    parts = {name: part(tensors, prefix) for prefix, name in there.items()}
    shapes = unet_shapes(tensors, UNET)
    needed = needed_parts(shapes.family if shapes else Family.UNKNOWN)
    missing = tuple(name for name in needed if name not in parts)
    whole = ModelIdentity(kind=Kind.CHECKPOINT, layout=Layout.LDM, parts=parts, missing=missing, ema=EMA in there)
    if shapes is None:
        return replace(whole, resembles=resemblance(tensors))
    return _with_unet(whole, shapes, prediction(shapes, index), zero_snr=ZERO_SNR in tensors)


def _unet(index: TensorIndex) -> ModelIdentity | None:
    if (shapes := unet_shapes(index.tensors)) is None:
        return None
    alone = ModelIdentity(kind=Kind.UNET, layout=shapes.layout, parts={"unet": part(index.tensors, "")})
    return _with_unet(alone, shapes, prediction(shapes, index))


def _with_unet(
    model: ModelIdentity, shapes: UnetShapes, output: Prediction, *, zero_snr: bool = False
) -> ModelIdentity:
    """`model` with the fields that its U-Net decides."""
    return replace(
        model, family=shapes.family, task=shapes.task, channels=shapes.channels, context=shapes.context,
        notes=shapes.notes, prediction=output, zero_snr=zero_snr,
        resembles="Stable Diffusion of other widths" if shapes.family is Family.UNKNOWN else None,
    )  # fmt: skip
