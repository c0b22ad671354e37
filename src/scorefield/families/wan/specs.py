"""The published configurations of Wan 2.1: films from words, and from words and pictures (Wan Team 2025)."""

from dataclasses import dataclass, replace

from scorefield.core import clock, gauge, noise_schedule, predict
from scorefield.latent.wan_latents import WAN_21, FilmLatents
from scorefield.model.spec import Defaults, GivenFrames, ModelSpec
from scorefield.nets.causal_vae import WAN_VAE, CausalVaeConfig
from scorefield.nets.clip import ClipConfig
from scorefield.nets.umt5 import UMT5_XXL, Umt5Config
from scorefield.nets.video_dit import WAN_FLF2V_14B, WAN_I2V_14B, WAN_T2V_14B, VideoDitConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The configurations of all networks of a model."""

    transformer: VideoDitConfig
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
SPECS = (WAN_1_3B, WAN_14B, I2V_14B, I2V_14B_720P, FLF2V_14B)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The input of a kind of Wan, by the names in Wan's own config.json and in diffusers' model_index.json."""

    pipeline: str  # of diffusers
    transformer: VideoDitConfig  # whose picture inputs are those of the task; its sizes may be others
    spec: ModelSpec
    spec_720p: ModelSpec | None = None  # of a model that was trained for twice the size: its name alone says so


TASKS = {
    "t2v": Task(pipeline="WanPipeline", transformer=WAN_T2V_14B, spec=WAN_14B),
    "i2v": Task(pipeline="WanImageToVideoPipeline", transformer=WAN_I2V_14B, spec=I2V_14B, spec_720p=I2V_14B_720P),
    "flf2v": Task(pipeline="WanImageToVideoPipeline", transformer=WAN_FLF2V_14B, spec=FLF2V_14B),
}


def task_of(transformer: VideoDitConfig) -> Task:
    """The task of a transformer, by the pictures that it reads."""
    if transformer.image_width is None:
        return TASKS["t2v"]
    return TASKS["i2v" if transformer.image_positions is None else "flf2v"]


def spec_of(networks: Networks, name: str) -> ModelSpec:
    """The spec of a model of that name: that of its task, size and resolution, with the schedules that it is like."""
    transformer, clip = networks.transformer, networks.image_clip
    task = task_of(transformer)
    if (frames := task.spec.given_frames) is None:
        spec = WAN_1_3B if transformer.width < WAN_T2V_14B.width else WAN_14B
    else:
        spec = task.spec_720p if task.spec_720p and "720p" in name.lower() else task.spec
        side = clip.vision.image_size if clip else None
        spec = replace(spec, given_frames=replace(frames, encoder_side=side, like=transformer.like))
    if transformer.like == "original":
        return spec
    # diffusers' DPM++ has the levels of the original's UniPC, and its UniPC others.
    levels = {"unipc": "flow_unipc_diffusers", "dpmpp_2m": "flow_unipc"}
    return replace(spec, defaults=replace(spec.defaults, schedules=levels))
