"""What a file or folder of weights is, from the names and shapes of its tensors alone."""

import json
from collections.abc import Mapping
from dataclasses import replace

from scorefield.weights.detect.clip_shapes import clip
from scorefield.weights.detect.identity import Family, Identity, Kind, Layout, Part, Prediction, part
from scorefield.weights.detect.inversion_shapes import inversion
from scorefield.weights.detect.lora_shapes import lora
from scorefield.weights.detect.resemblance import resemblance
from scorefield.weights.detect.unet_shapes import STATED, UnetFacts, prediction, unet_facts
from scorefield.weights.diffusers_folder import SourceError
from scorefield.weights.pipeline import Pipeline
from scorefield.weights.tensor_index import Stored, TensorIndex

OWN = "scorefield"  # own.KEY, the metadata entry of our own files; importing it would import PyTorch, which is slow
_UNET = "model.diffusion_model."
_EMA = "model_ema.diffusion_model"
_LDM = {  # the parts of a checkpoint, by what their names begin with
    _UNET: "unet",
    _EMA: "unet_ema",
    "first_stage_model.": "vae",
    "cond_stage_model.": "text_encoder",
    "conditioner.embedders.0.": "text_encoder",
    "conditioner.embedders.1.": "text_encoder_2",
    "embedder.": "image_encoder",
    "noise_augmentor.": "noise_augmentor",
}
_NEEDED = {
    Family.SDXL: ("unet", "vae", "text_encoder", "text_encoder_2"),
    Family.UNCLIP_H: ("unet", "vae", "text_encoder", "image_encoder"),
    Family.UNCLIP_L: ("unet", "vae", "text_encoder", "image_encoder", "noise_augmentor"),
}
_KL_LEVELS = (128, 4, 4)  # of KL-f8: channels, latent channels, levels
_SAME_VAE = "the autoencoder of Stable Diffusion XL has the same shapes and another scale: its names do not tell which"
_OLD_NAMES = "its attention has the names of older diffusers (query, key, value, proj_attn)"


def detect(listing: TensorIndex) -> Identity:
    """What a file is; if it is nothing known here, a find of kind UNKNOWN that says what it most resembles."""
    tensors = listing.tensors
    return (
        _own(listing)
        or lora(listing)
        or _checkpoint(listing)
        or _unet(listing)
        or _vae(tensors)
        or clip(tensors)
        or inversion(listing)
        or Identity(kind=Kind.UNKNOWN, resembles=resemblance(tensors))
    )


def detect_pipeline(pipeline: Pipeline) -> Identity:
    """What the folder of a diffusers pipeline is, by its U-Net; its prediction is what its scheduler says."""
    parts = {name: part(listing.tensors, "") for name, listing in pipeline.parts.items()}
    whole = Identity(kind=Kind.PIPELINE, layout=Layout.DIFFUSERS, parts=parts, missing=pipeline.missing)
    facts = unet_facts(pipeline.parts["unet"].tensors) if "unet" in parts else None
    if facts is None:
        return replace(whole, resembles=f"a {pipeline.name}")
    stated = pipeline.scheduler.get("prediction_type", "epsilon") if pipeline.scheduler is not None else None
    by_scheduler = Prediction(STATED.get(str(stated)), f"its scheduler says {stated}") if stated else None
    found = _with_unet(whole, facts, by_scheduler or prediction(facts, pipeline.parts["unet"]))
    return _zero_snr(found) if (pipeline.scheduler or {}).get("rescale_betas_zero_snr") is True else found


def _own(listing: TensorIndex) -> Identity | None:
    if OWN not in listing.metadata:
        return None
    try:
        header = json.loads(listing.metadata[OWN])
        kind = header["kind"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise SourceError(f"{listing.path} has a scorefield header that cannot be read; get it again") from None
    return Identity(kind=Kind.OWN, family=Family.SCOREFIELD, layout=Layout.SCOREFIELD,
                 parts={str(kind): part(listing.tensors, "")})  # fmt: skip


def _checkpoint(listing: TensorIndex) -> Identity | None:
    tensors = listing.tensors
    if not any(key.startswith(_UNET) for key in tensors):
        return None
    parts: dict[str, Part] = {}
    for prefix, name in _LDM.items():
        if any(key.startswith(prefix) for key in tensors):
            parts[name] = part(tensors, prefix)
    facts = unet_facts(tensors, _UNET)
    family = facts.family if facts else Family.UNKNOWN
    missing = tuple(name for name in _NEEDED.get(family, ("unet", "vae", "text_encoder")) if name not in parts)
    whole = Identity(kind=Kind.CHECKPOINT, layout=Layout.LDM, parts=parts, missing=missing, ema="unet_ema" in parts)
    if facts is None:
        return replace(whole, resembles=resemblance(tensors))
    found = _with_unet(whole, facts, prediction(facts, listing))
    return _zero_snr(found) if "ztsnr" in tensors else found


def _zero_snr(found: Identity) -> Identity:
    """A find with the fact that its training reached pure noise (zero terminal SNR)."""
    return replace(found, facts={**found.facts, "zero_snr": True})


def _unet(listing: TensorIndex) -> Identity | None:
    facts = unet_facts(listing.tensors)
    if facts is None:
        return None
    whole = Identity(kind=Kind.UNET, layout=facts.layout, parts={"unet": part(listing.tensors, "")})
    return _with_unet(whole, facts, prediction(facts, listing))


def _with_unet(whole: Identity, facts: UnetFacts, output: Prediction) -> Identity:
    """A find with what its U-Net tells of the whole model, and what that predicts."""
    return replace(
        whole,
        family=facts.family,
        task=facts.task,
        prediction=output,
        facts={"channels": facts.channels, "context": facts.context},
        notes=facts.notes,
        resembles="Stable Diffusion of other widths" if facts.family is Family.UNKNOWN else None,
    )


def _vae(tensors: Mapping[str, Stored]) -> Identity | None:
    for prefix in ("", "first_stage_model."):
        first, last = tensors.get(f"{prefix}encoder.conv_in.weight"), tensors.get(f"{prefix}post_quant_conv.weight")
        for layout, level in ((Layout.LDM, "encoder.down.{}.block.0.norm1.weight"),
                              (Layout.DIFFUSERS, "encoder.down_blocks.{}.resnets.0.norm1.weight")):  # fmt: skip
            levels = sum(f"{prefix}{level.format(i)}" in tensors for i in range(8))
            if first is None or last is None or not (levels and first.shape and last.shape):
                continue
            family = Family.KL_F8 if (first.shape[0], last.shape[0], levels) == _KL_LEVELS else Family.UNKNOWN
            old = any(key.endswith(".proj_attn.weight") for key in tensors)
            return Identity(
                kind=Kind.VAE,
                family=family,
                layout=layout,
                parts={"vae": part(tensors, prefix)},
                facts={"channels": last.shape[0], "levels": levels},
                notes=(_SAME_VAE, _OLD_NAMES) if old else (_SAME_VAE,),
            )
    return None
