"""What a file or folder of weights is, from the names and shapes of its tensors alone."""

import json
from typing import Any

from scorefield.errors import DamagedError
from scorefield.weights.checkpoint_layout import PARTS, UNET, ZERO_SNR, needed_parts
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
)
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
    whole: dict[str, Any] = {
        "kind": Kind.PIPELINE,
        "layout": Layout.DIFFUSERS,
        "parts": {name: part(index.tensors, "") for name, index in folder.parts.items()},
        "missing": folder.missing,
    }
    unet = folder.parts.get("unet")
    shapes = unet_shapes(unet.tensors) if unet else None
    if unet is None or shapes is None:
        return ModelIdentity(**whole, resembles=f"a {folder.name}")
    scheduler = folder.scheduler or {}
    stated = scheduler.get("prediction_type", "epsilon") if folder.scheduler is not None else None
    output = Prediction(STATED.get(str(stated)), f"its scheduler says {stated}") if stated else prediction(shapes, unet)
    return ModelIdentity(
        **whole | _unet_fields(shapes), prediction=output, zero_snr=scheduler.get("rescale_betas_zero_snr") is True
    )


def _own(index: TensorIndex) -> OwnIdentity | None:
    if OWN not in index.metadata:
        return None
    try:
        kind = str(json.loads(index.metadata[OWN])["kind"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DamagedError(f"{index.path} has a scorefield header that cannot be read; get it again") from None
    return OwnIdentity(
        family=Family.SCOREFIELD, layout=Layout.SCOREFIELD, parts={kind: part(index.tensors, "")}, holds=kind
    )


def _checkpoint(index: TensorIndex) -> ModelIdentity | None:
    tensors = index.tensors
    if not any(key.startswith(UNET) for key in tensors):
        return None
    parts = {
        name: part(tensors, prefix) for prefix, name in PARTS.items() if any(key.startswith(prefix) for key in tensors)
    }
    shapes = unet_shapes(tensors, UNET)
    needed = needed_parts(shapes.family if shapes else Family.UNKNOWN)
    whole: dict[str, Any] = {
        "kind": Kind.CHECKPOINT,
        "layout": Layout.LDM,
        "parts": parts,
        "missing": tuple(name for name in needed if name not in parts),
        "ema": "unet_ema" in parts,
    }
    if shapes is None:
        return ModelIdentity(**whole, resembles=resemblance(tensors))
    return ModelIdentity(
        **whole | _unet_fields(shapes), prediction=prediction(shapes, index), zero_snr=ZERO_SNR in tensors
    )


def _unet(index: TensorIndex) -> ModelIdentity | None:
    shapes = unet_shapes(index.tensors)
    if shapes is None:
        return None
    fields = {"layout": shapes.layout, "parts": {"unet": part(index.tensors, "")}} | _unet_fields(shapes)
    return ModelIdentity(kind=Kind.UNET, **fields, prediction=prediction(shapes, index))


def _unet_fields(shapes: UnetShapes) -> dict[str, Any]:
    """The fields of a model's identity that its U-Net decides."""
    return {
        "family": shapes.family,
        "task": shapes.task,
        "channels": shapes.channels,
        "context": shapes.context,
        "notes": shapes.notes,
        "resembles": "Stable Diffusion of other widths" if shapes.family is Family.UNKNOWN else None,
    }
