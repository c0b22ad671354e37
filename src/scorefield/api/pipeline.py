"""Load a model, plan a request, walk from noise to pictures."""

import functools
import inspect
import platform
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Unpack

import torch
from PIL import Image
from torch import Tensor

from scorefield import __version__, zoo
from scorefield.api import given, unseen, words
from scorefield.api.adapting import adapted, applied, has
from scorefield.api.result import Origin, Picture, Result
from scorefield.api.start import Start, start, strength, tensor, walked
from scorefield.api.taught import known as known_words
from scorefield.api.taught import knows, taught
from scorefield.core import grid, grid_names, noise, predict
from scorefield.core.denoiser import Denoise, Denoiser, bind, steady
from scorefield.core.level import Level
from scorefield.core.names import canonical
from scorefield.guide.cfg import cfg_batched
from scorefield.guide.interval import within
from scorefield.guide.known import known
from scorefield.latent import tiling
from scorefield.prompt.conditioner import Asked
from scorefield.prompt.rules import Count, Rules, Weighting
from scorefield.request import SEEDS, Embeddings, Loras, Options, Request, RequestError, Settled, parse
from scorefield.sample import names
from scorefield.sample.finite import NonFiniteError, finite
from scorefield.sample.walk import Sampler, Step

Prompt = str | Sequence[str] | Request

_PREDICTIONS: Mapping[predict.Prediction, str] = {
    predict.eps: "eps",
    predict.v: "v",
}  # what a file's network may be said to predict


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The pictures that are drawn at once, out of those of a request: picture `first` and those after it."""

    request: Settled
    first: int
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]


class Pipeline:
    """A loaded model. It holds no state of a run: any number of threads may draw with one at once."""

    def __init__(self, model: zoo.Model) -> None:
        self.model, self.codec = model, model.codec

    def __repr__(self) -> str:
        model = self.model
        return f"Pipeline({model.spec.name}, {model.device}, {str(model.dtype).removeprefix('torch.')})"

    def __call__(self, prompt: Prompt, **options: Unpack[Options]) -> Result:
        """Draw pictures: `count` of every prompt, the k-th of all from seed + k.

        Errors: RequestError (what was asked), NonFiniteError (the walk met NaN). Warns of words the model never saw.
        """
        drawn: list[Picture] = []
        seconds = {"walk": 0.0, "decode": 0.0}
        groups = self.plan(prompt, **options)
        for group in groups:
            start = time.perf_counter()
            for step in self.walk(group):
                last = step
            middle = time.perf_counter()
            drawn += self.pictures(group, last.x)
            seconds["walk"] += middle - start
            seconds["decode"] += time.perf_counter() - middle
        return Result(request=groups[0].request, pictures=tuple(drawn), seconds=seconds)

    def with_loras(self, loras: Loras) -> "Pipeline":
        """A pipeline whose model has `loras`, each times its scale; this one is left as it is, to go back to.

        The two share every tensor that is not changed. Errors: as of `load`. Warns of keys that are not used.
        """
        asked = parse({"prompt": "", "loras": loras}).loras
        return Pipeline(adapted(self.model, asked, stacklevel=2))

    def with_embeddings(self, embeddings: Embeddings) -> "Pipeline":
        """A pipeline that knows these textual inversions, and no others; this one is left as it is, to go back to.

        The two share every network. Errors: as of `load`.
        """
        asked = parse({"prompt": "", "embeddings": embeddings}).embeddings
        return Pipeline(taught(self.model, asked))

    @property
    def embeddings(self) -> tuple[zoo.LearnedWord, ...]:
        """The textual inversions that it knows: token, number of vectors, path and sha256 of each."""
        return self.model.embeddings

    def stream(self, prompt: Prompt, **options: Unpack[Options]) -> Iterator[Step]:
        """The walk itself, a Step a level: i of n, the level `at`, the state x and the predicted clean x0 (B, ...).

        Step n is the result. `codec.preview(step.x0)` is a quick look, `images(step.x)` the picture; to cancel, stop.
        """
        groups = self.plan(prompt, **options)
        if len(groups) > 1:
            pictures = sum(len(group.seeds) for group in groups)
            if pictures <= groups[0].request.batch_size:
                raise RequestError("a stream draws one batch, and these prompts take different numbers of chunks")
            raise RequestError(f"a stream draws one batch; for {pictures} pictures ask for batch_size={pictures}")
        return self.walk(groups[0])

    def plan(self, prompt: Prompt, **options: Unpack[Options]) -> tuple[Group, ...]:
        """What will be drawn, with the model's settings and a seed filled in; RequestError for what cannot be."""
        if isinstance(prompt, Request):
            if options:
                raise RequestError("a Request is complete: give it alone, or give a prompt with options")
            request = prompt
        else:
            request = parse({"prompts": prompt, **options})
        self._check_loaded(request)
        settled = self._settled(request)
        unseen.warn(settled, self.model, stacklevel=3)
        prompts = [prompt for prompt in settled.prompts for _ in range(settled.count)]
        seeds = [(settled.seed + k) % SEEDS for k in range(len(prompts))]
        counted = words.counts(settled, self.model)
        return tuple(
            Group(request=settled, first=run.start, prompts=tuple(prompts[run]), seeds=tuple(seeds[run]))
            for run in words.runs([counted[prompt].chunks for prompt in prompts], settled.batch_size)
        )

    def tokens(self, prompt: str, *, weighting: Weighting = "none") -> Count:
        """How many tokens a prompt has, how many of them fit in a chunk, and how many chunks it takes.

        RequestError for rules that this model does not know.
        """
        try:
            rules = Rules(weighting=weighting, long_prompt=self.model.spec.defaults.long_prompt)
            return self.model.conditioner.counts([prompt], rules)[0]
        except ValueError as error:
            raise RequestError(str(error)) from None

    @torch.no_grad()
    def walk(self, group: Group) -> Iterator[Step]:
        """From noise to the pictures of `group`, a Step a level; NonFiniteError names the first that is not finite."""
        request = group.request
        levels, begin = self.levels(request), start(self.model, request)
        shape = self.codec.shape(request.width, request.height)
        run = noise.find(request.noise)(group.seeds, shape, self.model.device)
        x = begin.state(run.initial, levels[0])
        yield from finite(_stepper(request)(self._denoise(group, begin, levels), x, levels, run.step))

    def levels(self, request: Settled) -> list[Level]:
        """The levels that a walk visits, from noise to clean; ValueError if the schedule has not so many."""
        spec, (steps, few) = self.model.spec, walked(request)
        return grid.levels(spec.gauge, grid_names.find(request.schedule)(spec.ladder)(steps))[-few - 1 :]

    @torch.no_grad()
    def images(self, x0: Tensor, tile: tiling.Tile = "auto") -> list[Image.Image]:
        """The decoded pictures of states (B, ...), large ones in tiles; NonFiniteError if the pixels are not finite."""
        pixels = tiling.decode(self.codec, x0, tile)
        if not torch.isfinite(pixels).all():
            raise NonFiniteError(f"the decoded pixels ({pixels.dtype}) are not finite; try dtype float32")
        bytes_ = ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return [Image.fromarray(one) for one in bytes_.movedim(1, -1).contiguous().cpu().numpy()]

    def pictures(self, group: Group, x: Tensor) -> list[Picture]:
        """The finished pictures of `group`, from its last state (B, ...)."""
        origin, images = self.origin(group.request), given.pasted(self.images(x, group.request.tile), group.request)
        rows = enumerate(zip(images, group.prompts, group.seeds, strict=True), group.first)
        return [
            Picture(image=image, prompt=prompt, seed=seed, index=index, request=group.request, origin=origin)
            for index, (image, prompt, seed) in rows
        ]

    def origin(self, request: Settled) -> Origin:
        """What a picture of `request` is drawn with here and now."""
        return Origin(
            model=self.model.spec.name,
            sha256=self.model.sha256,
            threads=torch.get_num_threads(),
            levels=tuple((float(at.alpha), float(at.sigma)) for at in self.levels(request)),
            versions={"scorefield": __version__, "torch": torch.__version__, "python": platform.python_version()},
        )

    def _settled(self, request: Request) -> Settled:
        model, defaults = self.model, self.model.spec.defaults
        pictures = given.pictures(request)
        request = request.model_copy(update=pictures)
        width, height = given.sides(request, model.spec)
        _check_sides(width, height, model.spec.size_multiple)
        try:
            record, schedule = names.find(request.sampler or defaults.sampler)
            if request.sampler:
                schedule = schedule or record.schedule
            schedule = request.schedule or schedule or defaults.schedule
            filled = {
                "model": model.spec.name,
                "prediction": _PREDICTIONS.get(model.spec.prediction),
                **asdict(model.spec.choice),
                "loras": applied(model),
                "embeddings": known_words(model),
                "device": str(model.device),
                "dtype": str(model.dtype).removeprefix("torch."),
                "width": width,
                "height": height,
                "steps": request.steps or defaults.steps,
                "cfg_scale": defaults.cfg_scale if request.cfg_scale is None else request.cfg_scale,
                "sampler": record.name,
                "schedule": canonical("schedule", schedule, grid_names.GRIDS, grid_names.ALIASES),
                "noise": canonical("noise policy", request.noise, noise.POLICIES, {}),
                "strength": strength(request),
                "long_prompt": request.long_prompt or defaults.long_prompt,
                "seed": secrets.randbelow(2**32) if request.seed is None else request.seed,
            }
            settled = Settled.model_validate(request.model_dump() | filled | pictures)
            _stepper(settled)
            self.levels(settled)
            given.mask(settled)
            given.prompt(settled, model.spec)
            words.counts(settled, model)
        except ValueError as error:
            raise RequestError(str(error)) from None
        return settled

    def _check_loaded(self, request: Request) -> None:
        """RequestError if `request` names another model, device or number format than are loaded."""
        model, device = self.model, torch.device(request.device if request.device != "auto" else self.model.device)
        is_loaded = {
            "model": request.model in (model.spec.name, model.spec.asked) or "model" not in request.model_fields_set,
            "prediction": request.prediction in (None, _PREDICTIONS.get(model.spec.prediction)),
            "variant": request.variant in (None, model.spec.choice.variant),
            "ema": request.ema in (False, model.spec.choice.ema),
            "vae": request.vae in (None, model.spec.choice.vae),
            "loras": has(model, request.loras) or "loras" not in request.model_fields_set,
            "embeddings": knows(model, request.embeddings) or "embeddings" not in request.model_fields_set,
            "device": device.type == model.device.type and device.index in (None, model.device.index or 0),
            "dtype": request.dtype in ("auto", str(model.dtype).removeprefix("torch.")),
        }
        if other := [name for name, loaded in is_loaded.items() if not loaded]:
            asked = getattr(request, other[0])
            raise RequestError(f"this pipeline was not loaded with the {other[0]} {asked}; give it to load()")

    def _asked(self, group: Group) -> Asked:
        request, shown = group.request, given.prompt(group.request, self.model.spec)
        return Asked(
            prompts=group.prompts,
            negative_prompt=request.negative_prompt,
            seeds=group.seeds,
            width=request.width,
            height=request.height,
            picture=None if shown is None else tensor(shown) / 255,
            noise_level=request.noise_level,
            rules=words.rules(request),
        )

    def _denoise(self, group: Group, begin: Start, levels: Sequence[Level]) -> Denoise:
        guided = self._guided(group, begin, steady(self.model.denoiser, levels))
        return guided if begin.x0 is None or begin.keep is None else known(guided, begin.x0, begin.keep)

    def _guided(self, group: Group, begin: Start, denoiser: Denoiser) -> Denoise:
        request = group.request
        pos, neg = self.model.conditioner.pair(self._asked(group))
        if begin.image is not None:
            image = begin.image.expand(len(group.seeds), *begin.image.shape[1:])
            pos, neg = replace(pos, image=image), replace(neg, image=image)
        plain = bind(denoiser, pos)
        if request.cfg_scale == 1:
            return plain
        guided = cfg_batched(denoiser, pos, neg, request.cfg_scale, request.cfg_rescale, self.model.spec.prediction)
        return guided if request.cfg_interval is None else within(guided, plain, *request.cfg_interval)


def load(
    model: str = "scenes",
    *,
    device: str = "auto",
    dtype: str = "auto",
    prediction: str | None = None,
    variant: str | None = None,
    ema: bool = False,
    vae: str | None = None,
    loras: Loras = (),
    embeddings: Embeddings = (),
) -> Pipeline:
    """A pipeline of the model of that name, or of the Stable Diffusion 1 or 2 at that path, a file or a folder.

    A name that is no path here is one of the Hugging Face hub, as owner/name or hf:owner/name@revision:file; what is
    missing of it is downloaded. `variant` (fp16) chooses among a folder's files, `ema` the averaged copy of the U-Net
    in a single file that has both; `vae` is a path whose autoencoder takes the place of the model's own.

    `device` is auto (CUDA where there is one), cpu, cuda, cuda:N or mps; `dtype` auto (float32, and float16 for a file
    on CUDA), float32, bfloat16 or float16; `prediction` eps or v, for files that do not tell. `loras` change the model:
    see `Pipeline.with_loras`; `embeddings` are textual inversions, which teach it words. RequestError for a model, a
    device, a LoRA or a textual inversion that is not there, not known or of another model,
    weights.own.WeightsError or weights.folder.SourceError for damaged files.
    """
    choice = zoo.Choice(variant=variant, ema=ema, vae=vae)
    given = {"model": model, "device": device, "dtype": dtype, "prediction": prediction, **asdict(choice)}
    asked = parse({"prompt": "", "loras": loras, "embeddings": embeddings, **given})
    _check_device(device)
    try:
        loaded = zoo.load(model, device, dtype, prediction, choice)
    except (zoo.UnknownModelError, zoo.NotLoadableError) as error:
        raise RequestError(str(error)) from None
    return Pipeline(taught(adapted(loaded, asked.loras, stacklevel=2), asked.embeddings))


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else int(kind != "mps" or torch.backends.mps.is_available())
    if int(index or 0) >= count:
        raise RequestError(f"there is no device {device} here; use cpu, or auto")


def _stepper(request: Settled) -> Sampler:
    """The sampler of `request` with its eta; RequestError if it takes none."""
    record, _ = names.find(request.sampler)
    if request.eta is None:
        return record.sampler
    sampler: Callable[..., Iterator[Step]] = record.sampler  # each has its own options behind the common ones
    if "eta" not in inspect.signature(sampler).parameters:
        raise RequestError(f"the sampler {record.name} takes no eta; leave it out, or use ddim or euler_ancestral")
    return functools.partial(sampler, eta=request.eta)


def _check_sides(width: int, height: int, multiple: int) -> None:
    for name, side in (("width", width), ("height", height)):
        if side % multiple:
            low = side // multiple * multiple
            near = " or ".join(str(one) for one in (low, low + multiple) if one)
            raise RequestError(f"{name} {side} is not a multiple of {multiple}; use {near}")
