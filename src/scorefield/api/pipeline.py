"""The pipeline: it plans a request, walks from noise to latents, and decodes them to pictures."""

import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import torch
from PIL import Image
from torch import Tensor

from scorefield import __version__, zoo
from scorefield.api import inputs, unseen, words
from scorefield.api.embeddings import with_embeddings
from scorefield.api.loras import warn_unused, with_loras
from scorefield.api.resolve import levels, settle, stepper
from scorefield.api.result import Origin, Picture, Result
from scorefield.api.start import Start, start, tensor
from scorefield.core import noise
from scorefield.core.denoiser import Denoise, Denoiser, bind, steady
from scorefield.core.half_precision import no_autocast
from scorefield.core.level import Level
from scorefield.errors import RequestError
from scorefield.guide.cfg import cfg_batched, within
from scorefield.guide.inpaint import known
from scorefield.latent import tiling
from scorefield.prompt.conditioner import PromptBatch
from scorefield.prompt.rules import Count, Rules, Weighting
from scorefield.request import SEEDS, Embeddings, Loras, Options, Request, Settled, parse
from scorefield.sample.walk import NonFiniteError, Step, finite

Prompt = str | Sequence[str] | Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Those pictures of a request that are drawn at once, in one batch."""

    request: Settled
    first: int  # index in the request of the first of them; the others follow
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]


class Pipeline:
    """A loaded model that draws. It keeps no state between calls, so threads may share it."""

    def __init__(self, model: zoo.Model) -> None:
        self.model, self.codec = model, model.codec

    def __repr__(self) -> str:
        model = self.model
        return f"Pipeline({model.spec.name}, {model.device}, {str(model.dtype).removeprefix('torch.')})"

    def __call__(self, prompt: Prompt, **options: Unpack[Options]) -> Result:
        """Draw `count` pictures of every prompt; the k-th of all of them is drawn from seed + k.

        RequestError for what cannot be drawn as it is asked, NonFiniteError if the walk meets a NaN or an infinity. An
        UnseenWarning names words that the model never saw.
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
        """A new pipeline whose weights are changed by `loras`, each times its scale. This pipeline does not change.

        A LoRA is a path, or a pair (path, scale); a scale {"unet": 0.8, "te": 0.5} is one for the U-Net and one for the
        text towers. The two pipelines share every tensor that no LoRA changes. Errors are those of `load`; an
        UnusedKeysWarning names keys of a file that fit no layer.
        """
        model = with_loras(self.model, parse({"prompt": "", "loras": loras}).loras)
        warn_unused(model, stacklevel=2)
        return Pipeline(model)

    def with_embeddings(self, embeddings: Embeddings) -> "Pipeline":
        """A new pipeline that knows these textual inversions and no others. This pipeline does not change.

        The two share every network. Errors are those of `load`.
        """
        return Pipeline(with_embeddings(self.model, parse({"prompt": "", "embeddings": embeddings}).embeddings))

    @property
    def embeddings(self) -> tuple[zoo.LearnedWord, ...]:
        """The textual inversions of the model: token, number of vectors, path and sha256 of each."""
        return self.model.embeddings

    def stream(self, prompt: Prompt, **options: Unpack[Options]) -> Iterator[Step]:
        """The walk itself: a Step for each level with its number i of n, the level `at`, and x and x0 (B, C, H, W).

        Step n is the result: `images(step.x)` are its pictures. `codec.preview(step.x0)` is a quick look at any step.
        To cancel, stop iterating. RequestError for more pictures than one batch.
        """
        groups = self.plan(prompt, **options)
        if len(groups) > 1:
            pictures = sum(len(group.seeds) for group in groups)
            if pictures <= groups[0].request.batch_size:
                raise RequestError("a stream draws one batch, and these prompts take different numbers of chunks")
            raise RequestError(f"a stream draws one batch; for {pictures} pictures ask for batch_size={pictures}")
        return self.walk(groups[0])

    def plan(self, prompt: Prompt, **options: Unpack[Options]) -> tuple[Group, ...]:
        """The batches that a request is drawn in, with the model's settings and a seed filled in.

        RequestError for what cannot be drawn as it is asked.
        """
        if isinstance(prompt, Request):
            if options:
                raise RequestError("a Request is complete: give it alone, or give a prompt with options")
            request = prompt
        else:
            request = parse({"prompts": prompt, **options})
        settled = settle(request, self.model)
        unseen.warn(settled, self.model, stacklevel=3)
        prompts = [prompt for prompt in settled.prompts for _ in range(settled.count)]
        seeds = [(settled.seed + k) % SEEDS for k in range(len(prompts))]
        counted = words.counts(settled, self.model)
        return tuple(
            Group(request=settled, first=batch.start, prompts=tuple(prompts[batch]), seeds=tuple(seeds[batch]))
            for batch in words.batches([counted[prompt].chunks for prompt in prompts], settled.batch_size)
        )

    def tokens(self, prompt: str, *, weighting: Weighting = "none") -> Count:
        """How many tokens a prompt has, how many fit in a chunk, and how many chunks it takes.

        RequestError for a `weighting` that this model does not know, or a prompt that it would refuse.
        """
        try:
            rules = Rules(weighting=weighting, long_prompt=self.model.spec.defaults.long_prompt)
            return self.model.conditioner.counts([prompt], rules)[0]
        except ValueError as error:
            raise RequestError(str(error)) from None

    @torch.no_grad()
    def walk(self, group: Group) -> Iterator[Step]:
        """From noise to the latents of `group`, a Step for each level; NonFiniteError where one is not finite."""
        request = group.request
        path, begin = self.levels(request), start(self.model, request)
        shape = self.codec.shape(request.width, request.height)
        run = noise.find(request.noise)(group.seeds, shape, self.model.device)
        x = begin.state(run.initial, path[0])
        yield from finite(stepper(request)(self._denoise(group, begin, path), x, path, run.step))

    def levels(self, request: Settled) -> list[Level]:
        """The levels that the walk of a request visits, from noise to clean."""
        return levels(request, self.model.spec)

    @torch.no_grad()
    def images(self, x0: Tensor, tile: tiling.Tile = "auto") -> list[Image.Image]:
        """The decoded pictures of `x0` (B, C, H, W), large ones in tiles; NonFiniteError if pixels are not finite."""
        pixels = tiling.decode(self.codec, x0, tile)
        if not torch.isfinite(pixels).all():
            raise NonFiniteError(f"the decoded pixels ({pixels.dtype}) are not finite; try dtype float32")
        bytes_ = ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return [Image.fromarray(one) for one in bytes_.movedim(1, -1).contiguous().cpu().numpy()]

    def pictures(self, group: Group, x: Tensor) -> list[Picture]:
        """The finished pictures of `group`, decoded from the last state `x` (B, C, H, W) of its walk."""
        origin, images = self.origin(group.request), inputs.pasted(self.images(x, group.request.tile), group.request)
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

    def _prompt_batch(self, group: Group) -> PromptBatch:
        request, image_prompt = group.request, inputs.prompt(group.request, self.model.spec)
        return PromptBatch(
            prompts=group.prompts,
            negative_prompt=request.negative_prompt,
            seeds=group.seeds,
            width=request.width,
            height=request.height,
            picture=None if image_prompt is None else tensor(image_prompt) / 255,
            noise_level=request.noise_level,
            rules=words.rules(request),
        )

    def _denoise(self, group: Group, begin: Start, path: Sequence[Level]) -> Denoise:
        guided = self._guided(group, begin, steady(self.model.denoiser, path))
        return guided if begin.x0 is None or begin.keep is None else known(guided, begin.x0, begin.keep)

    def _guided(self, group: Group, begin: Start, denoiser: Denoiser) -> Denoise:
        request = group.request
        with no_autocast():
            pos, neg = self.model.conditioner.pair(self._prompt_batch(group))
        if begin.image is not None:
            image = begin.image.expand(len(group.seeds), *begin.image.shape[1:])
            pos, neg = replace(pos, image=image), replace(neg, image=image)
        plain = bind(denoiser, pos)
        if request.cfg_scale == 1:
            return plain
        guided = cfg_batched(denoiser, pos, neg, request.cfg_scale, request.cfg_rescale, self.model.spec.prediction)
        return guided if request.cfg_interval is None else within(guided, plain, *request.cfg_interval)
