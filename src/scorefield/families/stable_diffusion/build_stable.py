"""Stable Diffusion 1 and 2: their specs, and a model out of the files that people have."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from scorefield.core import clock, gauge, noise_schedule, predict
from scorefield.core.denoiser import Preconditioned
from scorefield.errors import DamagedError, UnsupportedError
from scorefield.families.fill import Filling
from scorefield.families.stable_diffusion import image_encoder, second_encoder
from scorefield.families.stable_diffusion.config import stated
from scorefield.families.stable_diffusion.parts import Networks, Parts, parts
from scorefield.families.stable_diffusion.recognise import identify_drawable
from scorefield.latent.kl_codec import XL_COLOURS, XL_SCALE, KlCodec
from scorefield.model.spec import PLAIN, Choice, Defaults, ModelSpec
from scorefield.model.system import Model
from scorefield.nets.clip import (
    SD1_TEXT,
    SD2_TEXT,
    SD2_TEXT_23,
    SDXL_TEXT,
    SDXL_TEXT_2,
    VIT_H_14,
    VIT_L_14,
    TextEncoder,
)
from scorefield.nets.kl import KL, Kl
from scorefield.nets.unet import SD1, SD2, SD2_UNCLIP_H, SD2_UNCLIP_L, SDXL, Unet
from scorefield.prompt.conditioner import Conditioner
from scorefield.prompt.published import PublishedConditioner
from scorefield.weights.detect.identity import Family, ModelIdentity, Task

_LAMS = noise_schedule.lams(noise_schedule.cumulative(noise_schedule.scaled_linear()))
_ZERO_LAMS = noise_schedule.lams(noise_schedule.zero_snr(noise_schedule.cumulative(noise_schedule.scaled_linear())))
_DEFAULTS = Defaults(
    steps=50, cfg_scale=7.5, sampler="ddim", schedule="ddim_uniform", width=512, height=512, long_prompt="chunks"
)

STABLE_1 = ModelSpec(
    name="stable-diffusion-1",
    about="Stable Diffusion 1 of CompVis and Runway, and what others have tuned of it.",
    gauge=gauge.ve,  # as in k-diffusion and diffusers: of all samplers, Heun's steps alone depend on the gauge
    clock=clock.discrete(_LAMS),
    prediction=predict.eps,
    ladder=noise_schedule.discrete(_LAMS),
    defaults=_DEFAULTS,
    size_multiple=8,
)
STABLE_1_V = replace(STABLE_1, name="stable-diffusion-1-v", prediction=predict.v)  # none was published; some tuned it
STABLE_2_BASE = replace(
    STABLE_1,
    name="stable-diffusion-2-base",
    about="Stable Diffusion 2 of Stability AI for pictures of 512 x 512, which predicts the noise.",
    defaults=replace(_DEFAULTS, cfg_scale=9.0),
)
STABLE_2_V = replace(
    STABLE_2_BASE,
    name="stable-diffusion-2-v",
    about="Stable Diffusion 2 of Stability AI for pictures of 768 x 768, which predicts v.",
    prediction=predict.v,
    defaults=replace(_DEFAULTS, cfg_scale=9.0, width=768, height=768),
)
UNCLIP = replace(
    STABLE_2_V,
    name="stable-diffusion-2-1-unclip",
    about="Stable Diffusion 2.1 of Stability AI for pictures after a picture, with or without words.",
    defaults=replace(STABLE_2_V.defaults, steps=20, cfg_scale=10.0),
)
STABLE_XL = replace(
    STABLE_1,
    name="stable-diffusion-xl",
    about="Stable Diffusion XL of Stability AI, for pictures of 1024 x 1024 and other sides of as many pixels.",
    defaults=replace(_DEFAULTS, cfg_scale=5.0, width=1024, height=1024),
)
STABLE_XL_V = replace(
    STABLE_XL,
    name="stable-diffusion-xl-v",
    about="Stable Diffusion XL that others have tuned to predict v.",
    prediction=predict.v,
)

_SD2 = Networks(unet=SD2, kl=KL, text=SD2_TEXT_23, openclip=SD2_TEXT)
NETWORKS: Mapping[Family, Networks] = {
    Family.SD1: Networks(unet=SD1, kl=KL, text=SD1_TEXT),
    Family.SD2: _SD2,
    Family.UNCLIP_H: replace(_SD2, unet=SD2_UNCLIP_H, image_clip=VIT_H_14),
    Family.UNCLIP_L: replace(_SD2, unet=SD2_UNCLIP_L, image_clip=VIT_L_14),
    Family.SDXL: Networks(unet=SDXL, kl=KL, text=SDXL_TEXT, text_2=SDXL_TEXT_2),
}
SPECS: Mapping[Family, Mapping[str, ModelSpec]] = {
    Family.SD1: {"eps": STABLE_1, "v": STABLE_1_V},
    Family.SD2: {"eps": STABLE_2_BASE, "v": STABLE_2_V},
    Family.UNCLIP_H: {"v": UNCLIP},
    Family.UNCLIP_L: {"v": UNCLIP},
    Family.SDXL: {"eps": STABLE_XL, "v": STABLE_XL_V},
}


def stable(
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    prediction: str | None = None,
    networks: Networks | None = None,
    *,
    choice: Choice = PLAIN,
) -> Model:
    """The model of a diffusers folder or of one ldm file (.safetensors, or .ckpt, of which no code is run).

    - `prediction`: "eps" or "v"; None for what the file says.
    - `networks`: None for those of its family, or for those that a folder of other sizes states in its configurations.
    - `choice`: which of its files and weights to take, where there are several.

    The model's name is its path; its sha256 is taken of the weights while they are read, see `Filling`. DamagedError,
    MissingError or UnsupportedError for files that are damaged, missing or no model that can be drawn with.
    """
    found = identify_drawable(path, known=None if networks else NETWORKS, variant=choice.variant)
    networks = networks or published(found) or stated(path)
    spec = replace(
        _spec(path, found, prediction, networks),
        name=str(path),
        choice=choice,
        inpaints=found.task is Task.INPAINTING,
        image_prompt=networks.image_clip.vision.image_size if networks.image_clip else None,
    )
    places = parts(path, networks, choice)
    fill = Filling(device, dtype)
    unet = fill(lambda: Unet(networks.unet), "U-Net", *places.unet)
    kl = fill(lambda: Kl(networks.kl), "autoencoder", *places.kl)
    return Model(
        spec=spec,
        denoiser=Preconditioned(unet, spec.prediction, spec.clock),
        conditioner=_conditioner(path, networks, places, fill, choice.variant),
        codec=(KlCodec(kl, XL_SCALE, XL_COLOURS) if networks.text_2 else KlCodec(kl)).to(device),
        device=device,
        dtype=dtype,
        sha256=fill.sha256,
    )


def _conditioner(path: Path, networks: Networks, places: Parts, fill: Filling, variant: str | None) -> Conditioner:
    encoder = fill(lambda: TextEncoder(places.encoder), "text tower", *places.text)
    try:
        words = PublishedConditioner(places.tokenizer, encoder)
    except ValueError as error:
        raise DamagedError(f"{path}: {error}") from None
    if networks.image_clip:
        return image_encoder.reading(path, networks.image_clip, words, fill, variant)
    if networks.text_2:
        return second_encoder.reading(path, networks, words, fill, variant)
    return words


def kinds() -> tuple[ModelSpec, ...]:
    """The spec of every kind of model that is loaded from files; its name says the kind, and loads nothing."""
    whole = {spec.name: spec for specs in SPECS.values() for spec in specs.values()}  # the two unCLIPs have one spec
    masked = [spec for family, specs in SPECS.items() if not NETWORKS[family].image_clip for spec in specs.values()]
    return *whole.values(), *(replace(spec, name=f"{spec.name}-inpainting", inpaints=True) for spec in masked)


def published(found: ModelIdentity) -> Networks | None:
    """The published networks of the family that was found; None if its sizes are those of no family.

    For inpainting the U-Net has nine channels: the latents, a mask, and the latents of the masked picture.
    """
    networks = NETWORKS.get(found.family)
    if networks is None or found.channels is None:
        return networks
    return replace(networks, unet=replace(networks.unet, in_channels=found.channels))


def _spec(path: Path, found: ModelIdentity, prediction: str | None, networks: Networks) -> ModelSpec:
    """The spec of the model that was found, which predicts `prediction`, or where that is None, what its files say."""
    specs = SPECS.get(found.family, SPECS[Family.SDXL if networks.text_2 else Family.SD1])
    output = prediction or (found.prediction and found.prediction.value)
    if not output:
        why = found.prediction.why if found.prediction else "nothing tells what it predicts: say eps or v"
        raise UnsupportedError(f"{path}: {why} (prediction='v', or --prediction v)")
    if output not in specs:
        raise UnsupportedError(f"{path}: a Stable Diffusion predicts {' or '.join(specs)}, not {output}")
    if not found.zero_snr:
        return specs[output]
    if output != "v":
        raise UnsupportedError(f"{path} starts from pure noise (zero terminal SNR), where only v says what to draw")
    return _from_pure_noise(specs[output])


def _from_pure_noise(spec: ModelSpec) -> ModelSpec:
    """The spec of a model that was trained to pure noise; its schedule must begin there (Lin et al. 2023)."""
    return replace(
        spec,
        gauge=gauge.vp,  # the noisiest level is finite there
        clock=clock.discrete(_ZERO_LAMS),
        ladder=noise_schedule.discrete(_ZERO_LAMS),
        defaults=replace(spec.defaults, schedule="trailing"),
    )
