"""The list of options itself; the values that each may have are defined in the file of its subject."""

from typing import Literal, TypedDict

from pydantic import BaseModel, ConfigDict, model_validator

from scorefield.request import canvas, embedding, lora, machine, start, walk, words
from scorefield.request.image_prompt import ImagePrompt, NoiseLevel, with_empty_prompt


class Request(BaseModel):
    """One or more pictures to draw; an option that is None is left to the model's own settings.

    Pictures are counted through the whole request, `count` of the first prompt, then of the second, and so on. Picture
    k is drawn from seed + k.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    prompts: words.Prompts
    negative_prompt: words.NegativePrompt = ""
    weighting: words.Weighting = "none"
    long_prompt: words.LongPrompt = None
    clip_skip: words.ClipSkip = 1
    image_prompt: ImagePrompt = None
    noise_level: NoiseLevel = 0
    model: machine.Model = "scenes"
    prediction: machine.Prediction = None
    variant: machine.Variant = None
    ema: machine.Ema = False
    vae: machine.Vae = None
    loras: lora.LorasField = ()
    embeddings: embedding.EmbeddingsField = ()
    steps: walk.Steps = None
    cfg_scale: walk.CfgScale = None
    cfg_rescale: walk.CfgRescale = 0.0
    cfg_interval: walk.CfgInterval = None
    sampler: walk.Sampler = None
    schedule: walk.Schedule = None
    eta: walk.Eta = None
    seed: walk.Seed = None
    noise: walk.Noise = "per_sample"
    count: canvas.Count = 1
    batch_size: canvas.BatchSize = 16
    width: canvas.Width = None
    height: canvas.Height = None
    image: start.Image = None
    mask: start.Mask = None
    strength: start.Strength = None
    exact_steps: start.ExactSteps = False
    fit: start.Fit = "crop"
    paste: start.Paste = True
    tile: canvas.Tile = "auto"
    dtype: machine.Dtype = "auto"
    device: machine.Device = "auto"
    compiled: machine.Compiled = False

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, values: object) -> object:
        return canvas.sized(with_empty_prompt(values))

    @model_validator(mode="after")
    def _few_enough(self) -> "Request":
        most = canvas.MOST_PICTURES
        if (pictures := len(self.prompts) * self.count) > most:
            raise ValueError(f"{pictures} pictures are too many for one request; ask for at most {most}")
        return self

    @model_validator(mode="after")
    def _has_the_picture_that_options_need(self) -> "Request":
        of_image = {"mask": self.mask, "strength": self.strength, "exact_steps": self.exact_steps or None}
        if self.image is None and (name := next((name for name, value in of_image.items() if value is not None), None)):
            raise ValueError(f"{name} is of a picture to start from; give an image, too")
        if self.image_prompt is None and self.noise_level:
            raise ValueError("noise_level is of an image prompt; give one, too")
        return self


class Settled(Request):
    """A request with the model's settings and a seed filled in: this is what is drawn and recorded."""

    long_prompt: Literal["chunks", "refuse"]
    steps: int
    cfg_scale: float
    sampler: str
    schedule: str
    seed: int
    width: int
    height: int


class Options(TypedDict, total=False):
    """The keyword arguments of `Pipeline.__call__` and `Pipeline.stream`, also by the names of other programs."""

    negative_prompt: str
    weighting: Literal["none", "a1111", "comfy", "compel"]
    long_prompt: Literal["chunks", "refuse"] | None
    clip_skip: int
    image_prompt: start.Giveable
    noise_level: int
    steps: int | None
    num_inference_steps: int | None
    guidance: float | None
    guidance_scale: float | None
    cfg_scale: float | None
    cfg_rescale: float
    cfg_interval: tuple[float, float] | None
    sampler: str | None
    schedule: str | None
    scheduler: str | None
    eta: float | None
    seed: int | None
    count: int
    num_images_per_prompt: int
    batch_size: int
    size: int | str | tuple[int, int] | None
    width: int | None
    height: int | None
    image: start.Giveable
    mask: start.Giveable
    strength: float | None
    exact_steps: bool
    fit: str
    paste: bool
    tile: int | str
    noise: str
