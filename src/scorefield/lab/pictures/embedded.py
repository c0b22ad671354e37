"""The parts of the embedded model, for experiments with any condition, guidance and noise, and judges of the pictures.

A walk has the same parts here as in `Pipeline`, and gives the same picture bit for bit, but its condition, guidance and
noise may be anything. Parts are loaded once per process.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count
from math import hypot

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scorefield.api import Pipeline, load
from scorefield.core import grid, noise
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Denoise, bind
from scorefield.core.level import Level
from scorefield.data.asked import Task
from scorefield.data.phrases import PLACES
from scorefield.data.scenes import Scene, scene
from scorefield.evals import judge
from scorefield.evals.judge import Judge, Seen
from scorefield.guide.cfg import Scale, cfg_batched
from scorefield.lab.experiment import LabError
from scorefield.latent.latent_codec import PictureCodec, PictureLatents
from scorefield.nets.clip import Clip
from scorefield.prompt.text import TextConditioner
from scorefield.sample import samplers
from scorefield.sample.walk import Step, finite


@cache
def pipeline() -> Pipeline:
    """Load the embedded model."""
    return load("scenes")


@cache
def _judge() -> Judge:
    return judge.load()


def conditioner() -> TextConditioner:
    """The model's tokenizer and CLIP."""
    found = pipeline().stage.conditioner
    if not isinstance(found, TextConditioner):
        raise TypeError(f"these experiments need a model that reads words, not {type(found).__name__}")
    return found


def codec() -> PictureLatents:
    """The model's codec of pictures: pixels (B, 3, H, W) to latents and back."""
    found = pipeline().codec
    if not isinstance(found, PictureCodec):
        raise TypeError(f"these experiments need a model that draws pictures, not {type(found).__name__}")
    return found.pictures


def clip() -> Clip:
    """The model's CLIP: its text encoder conditions the generator, its image encoder reads pictures."""
    return conditioner().clip


def read(prompt: str) -> list[str]:
    """The words of a prompt, one token each; LabError for none, too many, or an unknown one."""
    tokenizer = conditioner().tokenizer
    try:
        tokenizer.encode([prompt])
    except ValueError as error:
        raise LabError(str(error)) from None
    if lacking := tokenizer.unknown(prompt):
        word, near = lacking[0]
        raise LabError(f"the model does not know {word!r}" + (f"; nearest: {', '.join(near)}" if near else ""))
    found = [word for word in tokenizer.words(prompt) if not tokenizer.unknown(word)]  # without punctuation
    if not found:
        raise LabError("the prompt has no words; give at least one")
    return found


def known(kind: str) -> Sequence[str]:
    """The phrases of a kind (things, places, worn, ...) that the model knows by its file."""
    return pipeline().stage.spec.knows[kind]


def places() -> list[str]:
    """A phrase for every place that the model knows."""
    return [phrases[0] for phrases in PLACES.values() if phrases[0] in known("places")]


def held_out(seed: int, task: Task | None = None) -> Iterator[Scene]:
    """Held-out scenes, of any task or of one, whose things and words model and judge know."""
    drawn, things = (scene(index, seed, "heldout", task) for index in count()), set(known("things"))
    return (
        one
        for one in drawn
        if _judge().labels.knows(one)
        and things.issuperset(item.thing for item in one.items)
        and not conditioner().unknown([one.caption])
    )


def words(prompts: Sequence[str]) -> Cond:
    """The condition for prompts: Cond(tokens (B, L, D), mask (B, L))."""
    return conditioner()(prompts)


def repeated(cond: Cond, count: int) -> Cond:
    """A condition of one row, repeated `count` times."""
    return cond.map(lambda value: value.expand(count, *value.shape[1:]))


def guided(pos: Cond, scale: Scale | None = None, neg: Cond | None = None) -> Denoise:
    """The model with condition `pos` (B), guided away from `neg` (one row or B), by default the empty prompt.

    `scale` None is the model's default; for 1, also from a function of the level, no guidance is computed.
    """
    model = pipeline().stage
    scale = model.spec.defaults.cfg_scale if scale is None else scale
    if scale == 1:
        return bind(model.denoiser, pos)
    tokens = pos.tokens
    if tokens is None:
        raise ValueError("this model is conditioned by tokens")
    neg = words([""]) if neg is None else neg
    return cfg_batched(model.denoiser, pos, repeated(neg, len(tokens)), scale, output=model.spec.prediction)


def levels(steps: int | None = None, schedule: str | None = None) -> list[Level]:
    """The levels (steps + 1) from pure noise to clean; None is the model's default."""
    spec = pipeline().stage.spec
    build = grid.find(schedule or spec.defaults.schedule)
    return grid.levels(spec.gauge, build(spec.ladder)(steps or spec.defaults.steps))


def start(seeds: Sequence[int]) -> noise.Run:
    """The initial noise of consecutive seeds at the model's default size; a picture depends on its seed alone."""
    model = pipeline().stage
    shape = codec().shape(model.spec.defaults.width, model.spec.defaults.height)
    return noise.per_sample(seeds, shape, model.device)


@torch.no_grad()
def walk(
    denoise: Denoise, run: noise.Run, at: Sequence[Level] | None = None, sampler: str | None = None
) -> Iterator[Step]:
    """Walk from noise to pictures, a Step per level; x of step n is the result. None is the model's levels and sampler.

    With `words` and `start`, the picture of a prompt equals `pipeline()`'s bit for bit.
    """
    record, _ = samplers.find(sampler or pipeline().stage.spec.defaults.sampler)
    at = levels() if at is None else at
    yield from finite(record.sampler(denoise, run.initial * hypot(*at[0]), at, run.step))


def end(steps: Iterator[Step]) -> Tensor:
    """The last state (B, C, H, W) of a walk: the latents of the pictures."""
    for step in steps:
        last = step
    return last.x


def images(x0: Tensor) -> list[Image.Image]:
    """The decoded pictures of latents (B, C, H, W)."""
    return pipeline().images(x0)


def bytes_of(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as (B, 3, H, W) uint8."""
    return torch.from_numpy(np.stack([np.asarray(one) for one in pictures])).permute(0, 3, 1, 2).contiguous()


def pixels(pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) uint8 as input of the networks: float32 in [-1, 1], on the model's device."""
    return pictures.to(pipeline().system.device).float() / 127.5 - 1


def look(pictures: Tensor) -> list[Seen]:
    """The judge's findings in pictures (B, 3, H, W) uint8."""
    return _judge()(pictures)


@torch.no_grad()
def picture_vectors(pictures: Tensor) -> Tensor:
    """CLIP's unit vectors (B, E) of pictures (B, 3, H, W) uint8 in the model's size, on the CPU."""
    return clip().encode_image(pixels(pictures)).cpu()


@torch.no_grad()
def text_vectors(texts: Sequence[str]) -> Tensor:
    """CLIP's unit vectors (B, E) of texts, on the CPU; their product with those of pictures is the cosine."""
    reader, device = conditioner(), pipeline().system.device
    ids, mask = (tensor.to(device) for tensor in reader.tokenizer.encode(texts))
    return reader.clip.encode_text(ids, mask).cpu()
