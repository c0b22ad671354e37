"""The layout of a single Stable Diffusion file: the prefixes of its parts, and the other keys that it may hold.

Detection, loading and conversion read these tables.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from scorefield.errors import UnsupportedError
from scorefield.notes import UnusedKeysWarning, note
from scorefield.weights.detect.identity import Family

UNET, VAE = "model.diffusion_model.", "first_stage_model."
EMA = "model_ema.diffusion_model"  # the averaged copy of the U-Net, whose names have lost their dots
TRANSFORMERS, OPENCLIP = "cond_stage_model.transformer.", "cond_stage_model.model."  # the text encoder of 1, and of 2
XL_TEXT, XL_TEXT_2 = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
IMAGE_ENCODER, NOISE_AUGMENTOR = "embedder.", "noise_augmentor."  # of unCLIP
V_PREDICTION, ZERO_SNR = "v_pred", "ztsnr"  # empty tensors that say: predicts v, trained with zero terminal SNR

PARTS: Mapping[str, str] = {
    UNET: "unet", EMA: "unet_ema", VAE: "vae", "cond_stage_model.": "text_encoder",
    "conditioner.embedders.0.": "text_encoder", "conditioner.embedders.1.": "text_encoder_2",
    IMAGE_ENCODER: "image_encoder", NOISE_AUGMENTOR: "noise_augmentor",
}  # fmt: skip
_COMMON = ("unet", "vae", "text_encoder")
_NEEDED: Mapping[Family, tuple[str, ...]] = {
    Family.SDXL: (*_COMMON, "text_encoder_2"),
    Family.UNCLIP_H: (*_COMMON, "image_encoder"),
    Family.UNCLIP_L: (*_COMMON, "image_encoder", "noise_augmentor"),
}

# Keys that do not affect pictures: first those of published files. An averaged copy next to the U-Net is for further
# training; the weights to draw with are in the usual place.
_PUBLISHED = re.compile(
    r"(betas|alphas_|sqrt_|log_one_minus_|posterior_|logvar|lvlb_weights|scale_factor|denoiser\.).*"  # of training
    rf"|{V_PREDICTION}|{ZERO_SNR}|model_ema\..*|({re.escape(VAE)})?loss\..*"
    r"|(.+\.)?(position_ids|attn_mask|logit_scale|input_resolution|context_length|vocab_size)"
    r"|(.+\.)?attn2\.norm_added_q\.weight"  # of Wan's I2V in diffusers' layout: no program reads it
)
_LEFT_OVER = re.compile(
    r"(epoch|global_step|step|iteration|iterations)"
    r"|(embedding_manager|safety_checker|optimizer|optimizers|lr_scheduler|lr_schedulers|callbacks)\..*"
    rf"|{re.escape(VAE)}model_ema\..*"
    r"|(.+\.)?text_projection(\.weight|\.bias)?"  # of a text encoder whose summary is not read
)
_CHANGES = re.compile(r"edm_(mean|std|vpred\..*)")  # EDM's noise levels, and statistics of the latents


def needed_parts(family: Family) -> tuple[str, ...]:
    """The parts that a whole model of `family` has."""
    return _NEEDED.get(family, _COMMON)


def harmless(key: str) -> bool:
    """Whether no picture depends on a key, unless a network's map names it."""
    return bool(_PUBLISHED.fullmatch(key) or _LEFT_OVER.fullmatch(key))


def check_rest(path: Path, keys: Iterable[str]) -> None:
    """Check the `keys` of a single file that belong to no network.

    UnsupportedError if pictures may depend on one; a note about harmless ones that published files do not have.
    """
    rest = [key for key in keys if not _PUBLISHED.fullmatch(key)]
    for key in rest:
        if _CHANGES.fullmatch(key):
            raise UnsupportedError(f"{path} was trained on the noise levels of EDM ({key}), which is not supported")
        if not _LEFT_OVER.fullmatch(key):
            raise UnsupportedError(f"{path}: unexpected tensor {key!r}, not part of a Stable Diffusion checkpoint")
    if rest:
        shown = ", ".join(rest[:3]) + (", ..." if len(rest) > 3 else "")
        many = "1 tensor is" if len(rest) == 1 else f"{len(rest)} tensors are"
        note(UnusedKeysWarning, f"{path}: {many} left over from training, and not used ({shown})")
