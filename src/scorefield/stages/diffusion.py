"""The stage that draws: a walk from noise to latents along a trained field, then decoding to frames."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from scorefield.core import grid, noise
from scorefield.core.denoiser import Denoise, Preconditioned, bind, steady
from scorefield.core.half_precision import no_autocast
from scorefield.core.level import Level
from scorefield.core.name_lookup import canonical
from scorefield.errors import RequestError, UnsupportedError
from scorefield.files.inputs import crop_middle
from scorefield.guide.cfg import cfg_batched, within
from scorefield.guide.inpaint import known
from scorefield.model.codec import Canvas, Codec
from scorefield.model.events import Batch
from scorefield.model.spec import ModelSpec
from scorefield.model.stage import StagePlan
from scorefield.prompt.conditioner import Conditioner, PromptBatch, Tokenized
from scorefield.prompt.rules import Rules
from scorefield.request import Drawing, Group
from scorefield.request.input_pictures import StartPicture
from scorefield.request.sampling import FlowShift, Sampling
from scorefield.request.size import Decoding, Film, Pictures
from scorefield.request.words import ClipWords, Prompts
from scorefield.sample import samplers
from scorefield.sample.walk import NonFiniteError, Sampler, Step, finite
from scorefield.stages.init_state import InitState, StartImages, steps_walked
from scorefield.stages.input_images import Opened, as_tensor, fitted, mask_of, open_image, sides
from scorefield.stages.unseen import note_unseen

_READ: frozenset[type[Group]] = frozenset({Prompts, Sampling, Pictures, StartPicture, Decoding})


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionPlan(StagePlan):
    """Everything decided and read for a walk."""

    shape: tuple[int, ...]  # of the latents of one output
    prompts: Mapping[str, Tokenized]  # by text, including the negative prompt
    negative_prompt: str
    rules: Rules
    sampler: Sampler
    cfg_scale: float
    cfg_rescale: float
    cfg_interval: tuple[float, float] | None
    noise: str
    start: StartImages
    image_prompt: Tensor | None  # (1, 3, S, S) in [0, 1]
    noise_level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffusion:
    """A conditioner, a denoiser and a codec."""

    spec: ModelSpec
    denoiser: Preconditioned
    conditioner: Conditioner
    codec: Codec
    device: torch.device
    further: frozenset[type[Group]] = frozenset()  # further groups of options that this model takes

    @property
    def takes(self) -> frozenset[type[Group]]:
        """The groups of options that it reads."""
        return (_READ - {StartPicture} if Film in self.further else _READ) | self.further

    def plan(self, asked: Drawing) -> DiffusionPlan:
        """Decide and read everything; RequestError for what this model cannot draw."""
        spec, defaults = self.spec, self.spec.defaults
        image, mask = open_image(asked.image, "image"), open_image(asked.mask, "mask", grey=True)
        image_prompt = self._image_prompt(asked)
        canvas = self._canvas(asked, image)
        strength = asked.strength
        if strength is None and image is not None:
            strength = 0.75 if mask is None else 1.0
        steps = asked.steps or defaults.steps
        whole, last = steps_walked(steps, strength, exact=asked.exact_steps)
        rules = Rules(
            weighting=asked.weighting,
            long_prompt=asked.long_prompt or defaults.long_prompt,
            clip_skip=asked.clip_skip,
        )
        guidance = defaults.cfg_scale if asked.cfg_scale is None else asked.cfg_scale
        record, schedule, levels = _course(asked, spec, whole, last, strength)
        policy = canonical("noise policy", asked.noise, noise.POLICIES, {})
        shape = self.codec.shape(canvas)
        given = "negative_prompt" in asked.model_fields_set
        negative_prompt = asked.negative_prompt if given else defaults.negative_prompt
        texts = list(dict.fromkeys([*asked.prompts, negative_prompt]))
        tokenized = dict(zip(texts, self.conditioner.tokenize(texts, rules), strict=True))
        unknown, unread = self.conditioner.unknown(texts), self.conditioner.unread(texts, rules)
        note_unseen(spec, unknown, unread, rules, canvas)
        return DiffusionPlan(
            filled={
                "width": canvas.width,
                "height": canvas.height,
                "steps": steps,
                "cfg_scale": guidance,
                "sampler": record.name,
                "schedule": schedule,
                "noise": policy,
                "strength": strength,
                "negative_prompt": negative_prompt,
                **({"long_prompt": rules.long_prompt} if ClipWords in self.further else {}),
                **({"frames": canvas.frames, "fps": canvas.fps} if Film in self.further else {}),
                **({"shift": asked.shift or defaults.shift} if FlowShift in self.further else {}),
                "image": image and image.given,
                "mask": mask and mask.given,
                "image_prompt": image_prompt and image_prompt.given,
            },
            canvas=canvas,
            steps=last,
            levels=levels,
            lengths={text: one.count for text, one in tokenized.items()},
            remarks=() if last == whole else (f"strength {strength:g}: the last {last} of {whole} steps are walked",),
            alike=tuple(tokenized[prompt].count.chunks for prompt in asked.prompts for _ in range(asked.count)),
            shape=shape,
            prompts=tokenized,
            negative_prompt=negative_prompt,
            rules=rules,
            sampler=_with_eta(record, asked.eta),
            cfg_scale=guidance,
            cfg_rescale=asked.cfg_rescale,
            cfg_interval=asked.cfg_interval,
            noise=policy,
            start=_start_images(asked, image, mask, canvas, strength),
            image_prompt=image_prompt and as_tensor(crop_middle(image_prompt.pixels, spec.image_prompt or 0)) / 255,
            noise_level=asked.noise_level,
        )

    def run(self, plan: DiffusionPlan, batch: Batch, given: object = None) -> Iterator[Step]:
        """Walk from noise to the latents of a batch, a Step for each level; NonFiniteError where one is not finite."""
        start = plan.start.encoded(self.codec, plan.canvas, self.device, inpaints=self.spec.inpaints)
        denoise = self._denoise(plan, batch, start)
        run = noise.find(plan.noise)(batch.seeds, plan.shape, self.device)
        return finite(plan.sampler(denoise, start.state(run.initial, plan.levels[0]), plan.levels, run.step))

    def make(self, plan: DiffusionPlan, x: Tensor) -> Iterator[Tensor]:
        """The frames (B, f, H, W, 3) uint8 of latents (B, ...), in chunks; NonFiniteError where one is not finite."""
        return map(plan.start.pasted, map(_as_bytes, self.codec.decode(x, plan.start.tile)))

    @torch.no_grad()
    def look(self, x: Tensor) -> list[Image.Image]:
        """The decoded pictures of `x` (B, ...), the first frame of each; NonFiniteError if pixels are not finite."""
        return [Image.fromarray(one[0].numpy()) for one in next(map(_as_bytes, self.codec.decode(x)))]

    def _canvas(self, asked: Drawing, image: Opened | None) -> Canvas:
        """The size of the outputs; RequestError for a side or a number of frames that does not fit the latents."""
        defaults = self.spec.defaults
        width, height = sides(asked, image, (defaults.width, defaults.height), self.spec.size_multiple)
        if Film not in self.further:
            return Canvas(width, height)
        frames, step = asked.frames or defaults.frames, self.codec.stride[0]
        if over := (frames - 1) % step:
            raise RequestError(
                f"frames {frames} is not {step}k + 1; use {frames - over} or {frames - over + step}", option="frames"
            )
        return Canvas(width, height, frames, asked.fps or defaults.fps)

    def _image_prompt(self, asked: Drawing) -> Opened | None:
        if self.spec.image_prompt is not None and asked.image_prompt is None:
            raise RequestError(f"the model {self.spec.name} needs an image prompt (--image-prompt)")
        return open_image(asked.image_prompt, "image-prompt")

    def _denoise(self, plan: DiffusionPlan, batch: Batch, start: InitState) -> Denoise:
        guided = self._guided(plan, batch, start)
        return guided if start.x0 is None or start.keep is None else known(guided, start.x0, start.keep)

    def _guided(self, plan: DiffusionPlan, batch: Batch, start: InitState) -> Denoise:
        given = PromptBatch(
            prompts=[plan.prompts[prompt] for prompt in batch.prompts],
            negative_prompt=plan.prompts[plan.negative_prompt],
            seeds=batch.seeds,
            width=plan.canvas.width,
            height=plan.canvas.height,
            picture=plan.image_prompt,
            noise_level=plan.noise_level,
            rules=plan.rules,
        )
        denoiser = steady(self.denoiser, plan.levels)
        with no_autocast():
            pos, neg = self.conditioner.pair(given)
        if start.image is not None:
            image = start.image.expand(len(batch.seeds), *start.image.shape[1:])
            pos, neg = replace(pos, image=image), replace(neg, image=image)
        plain = bind(denoiser, pos)
        if plan.cfg_scale == 1:
            return plain
        guided = cfg_batched(denoiser, pos, neg, plan.cfg_scale, plan.cfg_rescale, self.spec.prediction)
        return guided if plan.cfg_interval is None else within(guided, plain, *plan.cfg_interval)


def _as_bytes(frames: Tensor) -> Tensor:
    """Frames (B, f, 3, H, W) in [-1, 1] as (B, f, H, W, 3) uint8; NonFiniteError if one is not finite."""
    if not torch.isfinite(frames).all():
        raise NonFiniteError(f"the decoded pixels ({frames.dtype}) are not finite; try dtype float32")
    bytes_ = ((frames.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return bytes_.movedim(2, -1).contiguous().cpu()


def _course(
    asked: Drawing, spec: ModelSpec, whole: int, last: int, strength: float | None
) -> tuple[samplers.SamplerRecord, str, tuple[Level, ...]]:
    """The sampler, the name of the schedule (as asked, else by the sampler's name, else the model's), the last levels.

    RequestError, in the words of the request, if the schedule has fewer than `whole` steps.
    """
    record, named = samplers.find(asked.sampler or spec.defaults.sampler)
    default = spec.defaults.schedules.get(record.name, spec.defaults.schedule)
    schedule = canonical("schedule", asked.schedule or named or default, grid.SCHEDULES, grid.ALIASES)
    lams, shift = grid.find(schedule)(spec.ladder), asked.shift or spec.defaults.shift
    try:
        levels = grid.levels(spec.gauge, (grid.shifted(lams, shift) if shift else lams)(whole))
    except RequestError as error:
        if last == whole:
            raise
        raise RequestError(f"{last} steps at strength {strength:g} are the last of {whole}: {error}") from None
    return record, schedule, tuple(levels[-last - 1 :])


def _with_eta(record: samplers.SamplerRecord, eta: float | None) -> Sampler:
    """The sampler with its eta bound; RequestError for an eta that it does not take."""
    if eta is None:
        return record.sampler
    sampler: Callable[..., Iterator[Step]] = record.sampler  # some have options besides the common arguments
    if "eta" not in inspect.signature(sampler).parameters:
        raise RequestError(
            f"the sampler {record.name} takes no eta; leave it out, or use ddim or euler_ancestral", option="eta"
        )
    return functools.partial(sampler, eta=eta)


def _start_images(
    asked: Drawing, image: Opened | None, mask: Opened | None, canvas: Canvas, strength: float | None
) -> StartImages:
    if image is None:
        return StartImages(tile=asked.tile)
    size = canvas.width, canvas.height
    return StartImages(
        image=fitted(image.pixels, size, asked.fit, Image.Resampling.LANCZOS),
        mask=None if mask is None else mask_of(mask, image, size, asked.fit),
        strength=strength,
        paste=asked.paste,
        tile=asked.tile,
    )


def only_stage(stages: Sequence[object]) -> Diffusion:
    """The stage of a system that has only one, which diffuses; UnsupportedError for any other system."""
    if len(stages) == 1 and isinstance(stages[0], Diffusion):
        return stages[0]
    raise UnsupportedError(
        "this model is not a single diffusion stage, so it has no single network, conditioner or codec"
    )
