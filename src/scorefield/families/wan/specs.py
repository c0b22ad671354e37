"""The published configurations of Wan 2.1 that draw films from words (Wan Team 2025)."""

from dataclasses import dataclass, replace

from scorefield.core import clock, gauge, noise_schedule, predict
from scorefield.latent.wan_latents import WAN_21, FilmLatents
from scorefield.model.spec import Defaults, ModelSpec
from scorefield.nets.causal_vae import WAN_VAE, CausalVaeConfig
from scorefield.nets.umt5 import UMT5_XXL, Umt5Config
from scorefield.nets.video_dit import WAN_T2V_1_3B, WAN_T2V_14B, VideoDitConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The configurations of all networks of a model."""

    transformer: VideoDitConfig
    vae: CausalVaeConfig = WAN_VAE
    text: Umt5Config = UMT5_XXL
    latents: FilmLatents = WAN_21


# Wan's sample_neg_prompt, which its code puts in the place of an empty negative prompt: garish colours, overexposed,
# still, blurred details, subtitles, low quality, bad hands and faces, three legs, walking backwards and more.
NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，"
    "残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，"
    "三条腿，背景人很多，倒着走"
)

WAN_14B = ModelSpec(
    name="wan-2.1-t2v-14b",
    about="Wan 2.1 of 14 billion parameters: films of five seconds from words.",
    gauge=gauge.rf,
    clock=clock.flow_whole,
    prediction=predict.flow,
    ladder=noise_schedule.flow(),
    defaults=Defaults(
        steps=50,
        cfg_scale=5.0,
        sampler="unipc",
        schedule="flow_unipc",
        schedules={"dpmpp_2m": "trailing"},  # as in Wan's get_sampling_sigmas
        width=832,
        height=480,
        negative_prompt=NEGATIVE_PROMPT,
        frames=81,
        fps=16.0,
        shift=5.0,
    ),
    size_multiple=16,
    lower_order_long=False,  # as in both programs
)
WAN_1_3B = replace(
    WAN_14B,
    name="wan-2.1-t2v-1.3b",
    about="Wan 2.1 of 1.3 billion parameters: films of five seconds from words.",
    defaults=replace(WAN_14B.defaults, cfg_scale=6.0, shift=8.0),  # by the advice of its README
)
SPECS = {WAN_T2V_1_3B: WAN_1_3B, WAN_T2V_14B: WAN_14B}


def spec_of(transformer: VideoDitConfig) -> ModelSpec:
    """The spec of a transformer: that of its published size, or of the nearest, with the schedules that it is like."""
    nearest = WAN_1_3B if transformer.width < WAN_T2V_14B.width else WAN_14B
    spec = SPECS.get(replace(transformer, like="original"), nearest)
    if transformer.like == "original":
        return spec
    # diffusers' DPM++ has the levels of the original's UniPC, and its UniPC others.
    levels = {"unipc": "flow_unipc_diffusers", "dpmpp_2m": "flow_unipc"}
    return replace(spec, defaults=replace(spec.defaults, schedules=levels))
