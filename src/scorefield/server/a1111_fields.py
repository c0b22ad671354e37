"""The fields of AUTOMATIC1111's requests and answers, with that program's defaults."""

import json
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from scorefield.server.described import ERRORS as OURS

FACE = "a1111"  # the name of this interface in the queue


class ErrorOut(BaseModel):
    """An error, as AUTOMATIC1111 sends it."""

    error: str
    detail: str
    body: str
    errors: str


ERRORS = {status: {**one, "model": ErrorOut} for status, one in OURS.items()}


def _whole(value: object) -> object:
    """In JSON 20.0 is a whole number, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: object) -> object:
    """What can be sent back as JSON."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError("it is not plain JSON") from None
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Anything = Annotated[dict[str, object], BeforeValidator(_plain)]
Things = Annotated[list[object], BeforeValidator(_plain)]
Picture = Annotated[str, Field(description="A picture in base64, or a data: URL. No address is fetched.")]


class Fields(BaseModel):
    """What a client sends: of the types that are described, since a text that looks like a number may be a mistake."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class DrawIn(Fields):
    """The fields that both ways to draw have. Those without a default here are left to the model."""

    prompt: str | None = ""
    negative_prompt: str | None = None
    styles: list[str] | None = None
    seed: Whole | None = Field(-1, description="-1 picks one at random.")
    subseed: Whole | None = -1
    subseed_strength: float | None = 0.0
    seed_resize_from_h: Whole | None = -1
    seed_resize_from_w: Whole | None = -1
    sampler_name: str | None = None
    sampler_index: str | None = Field("Euler", description="Used if there is no sampler_name.")
    scheduler: str | None = Field(None, description="Automatic is the sampler's own, as in AUTOMATIC1111.")
    batch_size: Annotated[Whole, Field(ge=1, le=1024)] | None = 1
    n_iter: Annotated[Whole, Field(ge=1, le=1024)] | None = 1
    steps: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    cfg_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    width: Annotated[Whole, Field(ge=8, le=4096)] | None = None
    height: Annotated[Whole, Field(ge=8, le=4096)] | None = None
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool | None = False
    do_not_save_grid: bool | None = False
    eta: float | None = Field(None, description="Fresh noise in each step, for samplers that draw some anyway.")
    s_min_uncond: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    override_settings: Anything | None = None
    override_settings_restore_afterwards: bool | None = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    disable_extra_networks: bool | None = False
    firstpass_image: str | None = None
    comments: Anything | None = None
    force_task_id: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="The name of this job in progress, interrupt and /internal/progress."
    )
    script_name: str | None = None
    script_args: Things | None = Field(default_factory=list)
    send_images: bool | None = True
    save_images: bool | None = Field(False, description="Send a grid before several pictures.")
    alwayson_scripts: Anything | None = Field(default_factory=dict)
    infotext: str | None = None


class Txt2ImgIn(DrawIn):
    """Pictures from words."""

    denoising_strength: float | None = Field(0.75, description="Of the second pass, which is not offered.")
    enable_hr: bool | None = False
    firstphase_width: Whole | None = 0
    firstphase_height: Whole | None = 0
    hr_scale: float | None = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: Whole | None = 0
    hr_resize_x: Whole | None = 0
    hr_resize_y: Whole | None = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_prompt: str | None = ""
    hr_negative_prompt: str | None = ""


class Img2ImgIn(DrawIn):
    """Pictures from a picture and words."""

    init_images: list[Picture] | None = None
    resize_mode: Whole | None = Field(0, description="0 stretches the picture, 1 crops it.")
    denoising_strength: Annotated[float, Field(ge=0, le=1)] | None = 0.75
    image_cfg_scale: float | None = None
    mask: Picture | None = Field(None, description="White where to repaint.")
    mask_blur: Annotated[Whole, Field(ge=0, le=64)] | None = None
    mask_blur_x: Annotated[Whole, Field(ge=0, le=64)] | None = 4
    mask_blur_y: Annotated[Whole, Field(ge=0, le=64)] | None = 4
    mask_round: bool | None = True
    inpainting_fill: Whole | None = Field(0, description="0 starts from the colours around, 1 from what was there.")
    inpaint_full_res: bool | Whole | None = True
    inpaint_full_res_padding: Whole | None = 0
    inpainting_mask_invert: Annotated[Whole, Field(ge=0, le=1)] | None = 0
    initial_noise_multiplier: float | None = None
    latent_mask: str | None = None
    include_init_images: bool | None = False


class DrawnOut(BaseModel):
    """The pictures that were drawn; fewer than asked for if they were interrupted."""

    images: list[str] = Field(description="Files in base64.")
    parameters: dict[str, object] = Field(description="The request; what it left out is filled in.")
    info: str = Field(description="A JSON object as text.")
