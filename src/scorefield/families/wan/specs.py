"""The published configurations of Wan 2.1 and 2.2 that draw films from words (Wan Team 2025)."""

from dataclasses import dataclass, replace

from scorefield.core import clock, gauge, noise_schedule, predict
from scorefield.latent.wan_latents import WAN_21, WAN_22, FilmLatents
from scorefield.model.spec import Defaults, ModelSpec
from scorefield.nets.causal_vae import WAN_22_VAE, WAN_VAE, CausalVaeConfig
from scorefield.nets.umt5 import UMT5_XXL, Umt5Config
from scorefield.nets.video_dit import WAN22_TI2V_5B, WAN_T2V_1_3B, WAN_T2V_14B, VideoDitConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The configurations of all networks of a model."""

    transformer: VideoDitConfig  # of each, where there are two
    boundary: float | None = None  # between two transformers, as a ModelSpec has it; None for one transformer
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
WAN22_A14B = replace(
    WAN_14B,
    name="wan-2.2-t2v-a14b",
    about="Wan 2.2 of two experts of 14 billion parameters each: films of five seconds from words.",
    defaults=replace(WAN_14B.defaults, steps=40, cfg_scale=4.0, cfg_scale_2=3.0, shift=12.0),
    boundary=875.0,
)
WAN22_5B = replace(
    WAN_14B,
    name="wan-2.2-ti2v-5b",
    about="Wan 2.2 of 5 billion parameters: films of five seconds at 24 frames a second from words.",
    defaults=replace(WAN_14B.defaults, width=1280, height=704, frames=121, fps=24.0),
    size_multiple=32,
)
SPECS = {
    Networks(transformer=WAN_T2V_1_3B): WAN_1_3B,
    Networks(transformer=WAN_T2V_14B): WAN_14B,
    Networks(transformer=WAN_T2V_14B, boundary=WAN22_A14B.boundary): WAN22_A14B,
    Networks(transformer=WAN22_TI2V_5B, vae=WAN_22_VAE, latents=WAN_22): WAN22_5B,
}


def spec_of(networks: Networks) -> ModelSpec:
    """The spec of these networks, or of the nearest: with their boundary, and the schedules that they are like."""
    spec = _nearest(networks)
    if networks.transformer.like == "original":
        return spec
    # diffusers' DPM++ has the levels of the original's UniPC, and its UniPC others.
    levels = {"unipc": "flow_unipc_diffusers", "dpmpp_2m": "flow_unipc"}
    return replace(spec, defaults=replace(spec.defaults, schedules=levels))


def _nearest(networks: Networks) -> ModelSpec:
    if networks.boundary is not None:
        return replace(WAN22_A14B, boundary=networks.boundary)
    if networks.vae.shortcuts:
        return WAN22_5B
    return WAN_1_3B if networks.transformer.width < WAN_T2V_14B.width else WAN_14B
