"""The published configurations of Wan 2.1 and 2.2: films from words, and from words and pictures (Wan Team 2025)."""

from dataclasses import dataclass, replace

from scorefield.core import clock, gauge, noise_schedule, predict
from scorefield.latent.wan_latents import WAN_21, FilmLatents
from scorefield.model.spec import Defaults, GivenFrames, ModelSpec
from scorefield.nets.causal_vae import WAN_VAE, CausalVaeConfig
from scorefield.nets.clip import ClipConfig
from scorefield.nets.umt5 import UMT5_XXL, Umt5Config
from scorefield.nets.video_dit import WAN22_TI2V_5B, WAN_FLF2V_14B, WAN_I2V_14B, WAN_T2V_14B, VideoDitConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The configurations of all networks of a model."""

    transformer: VideoDitConfig  # of each, where there are two
    boundary: float | None = None  # between two transformers, as a ModelSpec has it; None for one transformer
    vae: CausalVaeConfig = WAN_VAE
    text: Umt5Config = UMT5_XXL
    latents: FilmLatents = WAN_21
    image_clip: ClipConfig | None = None  # whose image encoder sees the pictures of a film


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
I2V_14B = replace(
    WAN_14B,
    name="wan-2.1-i2v-14b-480p",
    about="Wan 2.1 of 14 billion parameters: films of five seconds from a picture and words.",
    defaults=replace(WAN_14B.defaults, steps=40, shift=3.0, negative_prompt=f"镜头晃动，{NEGATIVE_PROMPT}"),
    given_frames=GivenFrames(),
)
I2V_14B_720P = replace(
    I2V_14B,
    name="wan-2.1-i2v-14b-720p",
    defaults=replace(I2V_14B.defaults, width=1280, height=720, shift=5.0),
)
FLF2V_14B = replace(
    WAN_14B,
    name="wan-2.1-flf2v-14b-720p",
    about="Wan 2.1 of 14 billion parameters: films of five seconds from their first and last picture and words.",
    defaults=replace(
        WAN_14B.defaults, width=1280, height=720, shift=16.0, negative_prompt=f"镜头切换，{NEGATIVE_PROMPT}"
    ),
    given_frames=GivenFrames(last=True),
)
WAN22_T2V = replace(
    WAN_14B,
    name="wan-2.2-t2v-a14b",
    about="Wan 2.2 of two experts of 14 billion parameters each: films of five seconds from words.",
    defaults=replace(WAN_14B.defaults, steps=40, cfg_scale=4.0, cfg_scale_2=3.0, shift=12.0),
    boundary=875.0,
)
WAN22_I2V = replace(
    WAN22_T2V,
    name="wan-2.2-i2v-a14b",
    about="Wan 2.2 of two experts of 14 billion parameters each: films of five seconds from a picture and words.",
    defaults=replace(WAN22_T2V.defaults, cfg_scale=3.5, cfg_scale_2=3.5, shift=5.0),
    boundary=900.0,
    given_frames=GivenFrames(),
)
WAN22_5B = replace(
    WAN_14B,
    name="wan-2.2-ti2v-5b",
    about="Wan 2.2 of 5 billion parameters: films of five seconds from words, or from a picture and words.",
    defaults=replace(WAN_14B.defaults, width=1280, height=704, frames=121, fps=24.0),
    size_multiple=32,
    given_frames=GivenFrames(needed=False, as_latents=True),
)
SPECS = (WAN_1_3B, WAN_14B, I2V_14B, I2V_14B_720P, FLF2V_14B, WAN22_T2V, WAN22_I2V, WAN22_5B)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The input of a kind of Wan, by the names in Wan's own config.json and in diffusers' model_index.json."""

    pipeline: str  # of diffusers
    transformer: VideoDitConfig  # whose picture inputs are those of the task; its sizes may be others
    spec: ModelSpec
    spec_720p: ModelSpec | None = None  # of a model that was trained for twice the size: its name alone says so
    experts: ModelSpec | None = None  # of a model of two transformers, which have no image encoder


TASKS = {
    "t2v": Task(pipeline="WanPipeline", transformer=WAN_T2V_14B, spec=WAN_14B, experts=WAN22_T2V),
    "i2v": Task(
        pipeline="WanImageToVideoPipeline",
        transformer=WAN_I2V_14B,
        spec=I2V_14B,
        spec_720p=I2V_14B_720P,
        experts=WAN22_I2V,
    ),
    "flf2v": Task(pipeline="WanImageToVideoPipeline", transformer=WAN_FLF2V_14B, spec=FLF2V_14B),
    "ti2v": Task(pipeline="WanPipeline", transformer=WAN22_TI2V_5B, spec=WAN22_5B),
}


def task_of(networks: Networks) -> Task:
    """The task of a model, by its autoencoder and the pictures that its transformers read."""
    transformer = networks.transformer
    if networks.vae.shortcuts:
        return TASKS["ti2v"]
    if transformer.in_channels == transformer.out_channels:
        return TASKS["t2v"]
    return TASKS["i2v" if transformer.image_positions is None else "flf2v"]


def spec_of(networks: Networks, name: str) -> ModelSpec:
    """The spec of a model of that name: that of its task, size and resolution, with the schedules that it is like."""
    transformer, clip, task = networks.transformer, networks.image_clip, task_of(networks)
    spec = task.spec
    if networks.boundary is not None:
        spec = replace(task.experts or spec, boundary=networks.boundary)
    elif task.spec_720p is not None and "720p" in name.lower():
        spec = task.spec_720p
    elif spec is WAN_14B and transformer.width < WAN_T2V_14B.width:
        spec = WAN_1_3B
    if (frames := spec.given_frames) is not None:
        side = clip.vision.image_size if clip else None
        spec = replace(spec, given_frames=replace(frames, encoder_side=side, like=transformer.like))
    if transformer.like == "original":
        return spec
    # diffusers' DPM++ has the levels of the original's UniPC, and its UniPC others.
    levels = {"unipc": "flow_unipc_diffusers", "dpmpp_2m": "flow_unipc"}
    return replace(spec, defaults=replace(spec.defaults, schedules=levels))
