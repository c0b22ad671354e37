"""The published configurations of Stable Diffusion: the sizes of the networks, and a spec for each kind."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from scorefield.core import clock, gauge, noise_schedule, predict
from scorefield.latent.kl_codec import Latents
from scorefield.model.spec import Defaults, ModelSpec
from scorefield.nets.clip import (
    SD1_TEXT,
    SD2_TEXT,
    SD2_TEXT_23,
    SDXL_TEXT,
    SDXL_TEXT_2,
    VIT_H_14,
    VIT_L_14,
    ClipConfig,
    EncoderConfig,
)
from scorefield.nets.kl import KL, KlConfig
from scorefield.nets.unet import SD1, SD2, SD2_UNCLIP_H, SD2_UNCLIP_L, SDXL, UnetConfig
from scorefield.weights.detect.identity import Family

NUMBERS = 6  # that XL's network reads in addition to the words: original size, crop corner, target size


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The configurations of all networks of a model."""

    unet: UnetConfig
    kl: KlConfig
    text: EncoderConfig  # the text encoder as transformers has it
    openclip: EncoderConfig | None = None  # the text encoder as single files of Stable Diffusion 2 have it
    image_clip: ClipConfig | None = None  # of unCLIP: the CLIP whose image encoder reads the image prompt
    text_2: EncoderConfig | None = None  # of XL: the second text encoder
    latents: Latents | None = None  # None for the published factor

    @property
    def size_features(self) -> int:
        """Time features for each of XL's numbers: the U-Net's vector without the second text encoder's summary."""
        summary = self.text_2.embed_dim if self.text_2 else None
        return ((self.unet.pooled_width or 0) - (summary or 0)) // NUMBERS


_LAMS = noise_schedule.lams(noise_schedule.cumulative(noise_schedule.scaled_linear()))
_ZERO_LAMS = noise_schedule.lams(noise_schedule.zero_snr(noise_schedule.cumulative(noise_schedule.scaled_linear())))
_DEFAULTS = Defaults(
    steps=50, cfg_scale=7.5, sampler="ddim", schedule="ddim_uniform", width=512, height=512, long_prompt="chunks"
)

STABLE_1 = ModelSpec(
    name="stable-diffusion-1",
    about="Stable Diffusion 1 by CompVis and Runway, and fine-tuned versions of it.",
    gauge=gauge.ve,  # as in k-diffusion and diffusers: of all samplers, only Heun's steps depend on the gauge
    clock=clock.discrete(_LAMS),
    prediction=predict.eps,
    ladder=noise_schedule.discrete(_LAMS),
    defaults=_DEFAULTS,
    size_multiple=8,
)
STABLE_1_V = replace(
    STABLE_1, name="stable-diffusion-1-v", prediction=predict.v
)  # not published as such, but fine-tuned versions exist
STABLE_2_BASE = replace(
    STABLE_1,
    name="stable-diffusion-2-base",
    about="Stable Diffusion 2 by Stability AI for pictures of 512 x 512; predicts the noise.",
    defaults=replace(_DEFAULTS, cfg_scale=9.0),
)
STABLE_2_V = replace(
    STABLE_2_BASE,
    name="stable-diffusion-2-v",
    about="Stable Diffusion 2 by Stability AI for pictures of 768 x 768; predicts v.",
    prediction=predict.v,
    defaults=replace(_DEFAULTS, cfg_scale=9.0, width=768, height=768),
)
UNCLIP = replace(
    STABLE_2_V,
    name="stable-diffusion-2-1-unclip",
    about="Stable Diffusion 2.1 by Stability AI, drawing from an image prompt, with or without words.",
    defaults=replace(STABLE_2_V.defaults, steps=20, cfg_scale=10.0),
)
STABLE_XL = replace(
    STABLE_1,
    name="stable-diffusion-xl",
    about="Stable Diffusion XL by Stability AI for pictures of 1024 x 1024, or other shapes of as many pixels.",
    defaults=replace(_DEFAULTS, cfg_scale=5.0, width=1024, height=1024),
)
STABLE_XL_V = replace(
    STABLE_XL,
    name="stable-diffusion-xl-v",
    about="Stable Diffusion XL, fine-tuned to predict v.",
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


def kinds() -> tuple[ModelSpec, ...]:
    """The spec of every kind of model that is loaded from files; its name is not one that can be loaded."""
    whole = {spec.name: spec for specs in SPECS.values() for spec in specs.values()}  # the two unCLIPs have one spec
    masked = [spec for family, specs in SPECS.items() if not NETWORKS[family].image_clip for spec in specs.values()]
    return *whole.values(), *(replace(spec, name=f"{spec.name}-inpainting", inpaints=True) for spec in masked)


def from_pure_noise(spec: ModelSpec) -> ModelSpec:
    """The spec of a model that was trained with zero terminal SNR; its schedule must begin there (Lin et al. 2023)."""
    return replace(
        spec,
        gauge=gauge.vp,  # the noisiest level is finite there
        clock=clock.discrete(_ZERO_LAMS),
        ladder=noise_schedule.discrete(_ZERO_LAMS),
        defaults=replace(spec.defaults, schedule="trailing"),
    )
