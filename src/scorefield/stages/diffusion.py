"""The stage that draws: a walk from noise to latents along a trained field, then decoding to frames."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from scorefield.core import grid, noise, noise_schedule
from scorefield.core.denoiser import Denoise, Preconditioned, bind, steady
from scorefield.core.half_precision import no_autocast
from scorefield.core.level import Level
from scorefield.core.name_lookup import canonical
from scorefield.errors import RequestError, UnsupportedError
from scorefield.guide.cfg import Scale, cfg_batched, within
from scorefield.guide.inpaint import known
from scorefield.model.codec import Canvas, Codec
from scorefield.model.events import Batch, Loading
from scorefield.model.spec import Defaults, ModelSpec
from scorefield.model.stage import StagePlan
from scorefield.prompt.conditioner import Conditioner, PromptBatch, Tokenized
from scorefield.prompt.rules import Rules
from scorefield.request import Drawing, Group
from scorefield.request.input_pictures import LastPicture, PictureChange, StartPicture
from scorefield.request.sampling import FlowShift, Sampling, SecondGuidance
from scorefield.request.size import Decoding, Film, Pictures
from scorefield.request.words import ClipWords, Prompts
from scorefield.sample import samplers
from scorefield.sample.walk import NonFiniteError, Sampler, Step, finite
from scorefield.stages import given_frames
from scorefield.stages.init_state import InitState, Start, StartImages, steps_walked
from scorefield.stages.input_images import Opened, fitted, mask_of, open_pictures, seen_by_encoder, sides
from scorefield.stages.told_turns import in_turns
from scorefield.stages.unseen import note_unseen

_READ: frozenset[type[Group]] = frozenset({Prompts, Sampling, Pictures, Decoding})
_OF_PICTURES: frozenset[type[Group]] = frozenset({StartPicture, PictureChange})


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionPlan(StagePlan):
    """Everything decided and read for a walk."""

    shape: tuple[int, ...]  # of the latents of one output
    prompts: Mapping[str, Tokenized]  # by text, including the negative prompt
    negative_prompt: str
    rules: Rules
    sampler: Sampler
    cfg_scale: float
    cfg_scale_2: float  # below the boundary of a model of two experts
    cfg_rescale: float
    cfg_interval: tuple[float, float] | None
    noise: str
    start: Start
    pictures: Tensor | None  # (P, 3, S, S) in [0, 1]: those that the conditioner reads
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
    on_demand: bool = False  # some of its networks are read when their turn begins

    @property
    def takes(self) -> frozenset[type[Group]]:
        """The groups of options that it reads."""
        return _READ | self._pictures | self.further

    @property
    def _pictures(self) -> frozenset[type[Group]]:
        """The groups about given pictures."""
        if (given := self.spec.given_frames) is not None:
            return frozenset({StartPicture, LastPicture} if given.last else {StartPicture})
        return frozenset() if Film in self.further else _OF_PICTURES

    def plan(self, asked: Drawing) -> DiffusionPlan:
        """Decide and read everything; RequestError for what this model cannot draw."""
        spec, defaults = self.spec, self.spec.defaults
        opened = open_pictures(asked, spec)
        canvas = self._canvas(asked, opened.get("image"))
        strength = asked.strength
        if strength is None and "image" in opened and spec.given_frames is None:
            strength = 1.0 if "mask" in opened else 0.75
        steps = asked.steps or defaults.steps
        whole, last = steps_walked(steps, strength, exact=asked.exact_steps)
        rules = Rules(
            weighting=asked.weighting,
            long_prompt=asked.long_prompt or defaults.long_prompt,
            clip_skip=asked.clip_skip,
        )
        guidance, guidance_2 = _guidance(asked, defaults)
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
                **({"cfg_scale_2": guidance_2} if SecondGuidance in self.further else {}),
                **({"long_prompt": rules.long_prompt} if ClipWords in self.further else {}),
                **({"frames": canvas.frames, "fps": canvas.fps} if Film in self.further else {}),
                **({"shift": asked.shift or defaults.shift} if FlowShift in self.further else {}),
                **{name: one.given for name, one in opened.items()},
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
            sampler=_bound(record, asked.eta, lower_order_long=spec.lower_order_long),
            cfg_scale=guidance,
            cfg_scale_2=guidance_2,
            cfg_rescale=asked.cfg_rescale,
            cfg_interval=asked.cfg_interval,
            noise=policy,
            start=_start(asked, spec, opened, canvas, strength),
            pictures=seen_by_encoder(opened, spec),
            noise_level=asked.noise_level,
        )

    def run(self, plan: DiffusionPlan, batch: Batch, given: object = None) -> Iterator[Step | Loading]:
        """Walk from noise to the latents of a batch, a Step for each level; NonFiniteError where one is not finite."""
        words = self._words(plan, batch)
        if not self.on_demand:
            return self._walk(plan, words)
        before = [*([self.codec] if plan.start.encodes else []), *self.conditioner.reads(words)]
        return in_turns(self.spec, partial(self._walk, plan, words), plan.levels, before, self.denoiser.net, self.codec)

    def _walk(self, plan: DiffusionPlan, words: PromptBatch) -> Iterator[Step]:
        start = plan.start.encoded(self.codec, plan.canvas, self.device)
        denoise = self._denoise(plan, words, start)
        run = noise.find(plan.noise)(words.seeds, plan.shape, self.device)
        return finite(plan.sampler(denoise, start.state(run.initial, plan.levels[0]), plan.levels, run.step))

    def make(self, plan: DiffusionPlan, x: Tensor) -> Iterator[Tensor]:
        """The frames (B, f, H, W, 3) uint8 of latents (B, ...), in chunks; NonFiniteError where one is not finite."""
        return map(plan.start.pasted, map(_as_bytes, self.codec.decode(x, plan.start.tile)))

    @torch.no_grad()
    def look(self, x: Tensor, frames: int = 1) -> list[Image.Image]:
        """The decoded pictures of `x` (B, ...): the first frame, or up to `frames` of a film, evenly spaced, in a row.

        NonFiniteError if pixels are not finite.
        """
        chunks = map(_as_bytes, self.codec.decode(x))
        if frames == 1:
            return [Image.fromarray(one[0].numpy()) for one in next(chunks)]
        film = torch.cat(list(chunks), 1)
        chosen = torch.linspace(0, film.shape[1] - 1, min(frames, film.shape[1])).round().long()
        return [Image.fromarray(torch.cat([*one], 1).numpy()) for one in film[:, chosen]]

    def _canvas(self, asked: Drawing, image: Opened | None) -> Canvas:
        """The size of the outputs; RequestError for a side or a number of frames that does not fit the latents."""
        defaults = self.spec.defaults
        width, height = sides(
            asked,
            image,
            (defaults.width, defaults.height),
            self.spec.size_multiple,
            keeps_area=self.spec.given_frames is not None,
        )
        if Film not in self.further:
            return Canvas(width, height)
        frames, step = asked.frames or defaults.frames, self.codec.stride[0]
        if over := (frames - 1) % step:
            raise RequestError(
                f"frames {frames} is not {step}k + 1; use {frames - over} or {frames - over + step}", option="frames"
            )
        return Canvas(width, height, frames, asked.fps or defaults.fps)

    def _denoise(self, plan: DiffusionPlan, words: PromptBatch, start: InitState) -> Denoise:
        guided = self._guided(plan, words, start)
        return guided if start.x0 is None or start.keep is None else known(guided, start.x0, start.keep)

    def _words(self, plan: DiffusionPlan, batch: Batch) -> PromptBatch:
        return PromptBatch(
            prompts=[plan.prompts[prompt] for prompt in batch.prompts],
            negative_prompt=plan.prompts[plan.negative_prompt],
            seeds=batch.seeds,
            width=plan.canvas.width,
            height=plan.canvas.height,
            pictures=plan.pictures,
            noise_level=plan.noise_level,
            rules=plan.rules,
            ahead=[*plan.prompts.values()],
        )

    def _guided(self, plan: DiffusionPlan, words: PromptBatch, start: InitState) -> Denoise:
        scale, denoiser = self._scale(plan), steady(self.denoiser, plan.levels)
        with no_autocast():
            pos, neg = self.conditioner.pair(words)
        if start.image is not None:
            image = start.image.expand(len(words.seeds), *start.image.shape[1:])
            pos, neg = replace(pos, image=image), replace(neg, image=image)
        plain = bind(denoiser, pos)
        if plan.cfg_scale == plan.cfg_scale_2 == 1:
            return plain
        guided = cfg_batched(denoiser, pos, neg, scale, plan.cfg_rescale, self.spec.prediction)
        return guided if plan.cfg_interval is None else within(guided, plain, *plan.cfg_interval)

    def _scale(self, plan: DiffusionPlan) -> Scale:
        """The weight of guidance, which changes where the second expert takes over."""
        clock, boundary = self.spec.clock, self.spec.boundary
        if boundary is None:
            return plan.cfg_scale
        return lambda at: plan.cfg_scale if clock(at.lam) >= boundary else plan.cfg_scale_2


def _as_bytes(frames: Tensor) -> Tensor:
    """Frames (B, f, 3, H, W) in [-1, 1] as (B, f, H, W, 3) uint8; NonFiniteError if one is not finite."""
    if not torch.isfinite(frames).all():
        raise NonFiniteError(f"the decoded pixels ({frames.dtype}) are not finite; try dtype float32")
    bytes_ = ((frames.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return bytes_.movedim(2, -1).contiguous().cpu()


def _guidance(asked: Drawing, defaults: Defaults) -> tuple[float, float]:
    """The guidance scales above and below a boundary; where the first alone is asked for, it serves both."""
    first = defaults.cfg_scale if asked.cfg_scale is None else asked.cfg_scale
    second = defaults.cfg_scale_2 if asked.cfg_scale_2 is None and asked.cfg_scale is None else asked.cfg_scale_2
    return first, first if second is None else second


def _course(
    asked: Drawing, spec: ModelSpec, whole: int, last: int, strength: float | None
) -> tuple[samplers.SamplerRecord, str, tuple[Level, ...]]:
    """The sampler, the name of the schedule (as asked, else by the sampler's name, else the model's), the last levels.

    RequestError, in the words of the request, if the schedule has fewer than `whole` steps.
    """
    record, named = samplers.find(asked.sampler or spec.defaults.sampler)
    default = spec.defaults.schedules.get(record.name, spec.defaults.schedule)
    schedule = canonical("schedule", asked.schedule or named or default, grid.SCHEDULES, grid.ALIASES)
    shift = asked.shift or spec.defaults.shift
    ladder = noise_schedule.shifted(spec.ladder, shift) if shift else spec.ladder
    try:
        levels = grid.levels(spec.gauge, grid.find(schedule)(ladder)(whole))
    except RequestError as error:
        if last == whole:
            raise
        raise RequestError(f"{last} steps at strength {strength:g} are the last of {whole}: {error}") from None
    return record, schedule, tuple(levels[-last - 1 :])


def _bound(record: samplers.SamplerRecord, eta: float | None, *, lower_order_long: bool) -> Sampler:
    """The sampler with the options bound that it has; RequestError for an eta that it does not take."""
    sampler: Callable[..., Iterator[Step]] = record.sampler  # some have options besides the common arguments
    takes = inspect.signature(sampler).parameters
    if eta is not None:
        if "eta" not in takes:
            raise RequestError(
                f"the sampler {record.name} takes no eta; leave it out, or use ddim or euler_ancestral", option="eta"
            )
        sampler = partial(sampler, eta=eta)
    if "lower_order_long" in takes and not lower_order_long:
        sampler = partial(sampler, lower_order_long=False)
    return sampler


def _start(
    asked: Drawing, spec: ModelSpec, opened: Mapping[str, Opened], canvas: Canvas, strength: float | None
) -> Start:
    """The start of a walk from the opened pictures."""
    image, mask, size = opened.get("image"), opened.get("mask"), (canvas.width, canvas.height)
    if image is None:
        return StartImages(tile=asked.tile, inpaints=spec.inpaints)
    if spec.given_frames is not None:
        return given_frames.start(asked, image, opened.get("last_image"), canvas, spec.given_frames, spec.size_multiple)
    return StartImages(
        image=fitted(image.pixels, size, asked.fit, Image.Resampling.LANCZOS),
        mask=None if mask is None else mask_of(mask, image, size, asked.fit),
        strength=strength,
        paste=asked.paste,
        tile=asked.tile,
        inpaints=spec.inpaints,
    )


def only_stage(stages: Sequence[object]) -> Diffusion:
    """The stage of a system that has only one, which diffuses; UnsupportedError for any other system."""
    if len(stages) == 1 and isinstance(stages[0], Diffusion):
        return stages[0]
    raise UnsupportedError(
        "this model is not a single diffusion stage, so it has no single network, conditioner or codec"
    )
