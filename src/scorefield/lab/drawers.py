"""Drawing for a judge: the captions of scenes and of films by a pipeline, in the judge's size."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scorefield.api import Pipeline
from scorefield.data.film_scenes import Film
from scorefield.data.paint import SIZE
from scorefield.data.scenes import Scene
from scorefield.data.scripts import FRAMES
from scorefield.evals import adherence, film_judge
from scorefield.request import Options


def pictures(pipe: Pipeline, options: Options) -> adherence.Draw:
    """A Draw of the scenes' captions by a pipeline."""

    def draw(scenes: Sequence[Scene], seed: int) -> Tensor:
        wanted = options | Options(seed=seed, batch_size=len(scenes))
        return _sized(pipe([one.caption for one in scenes], **wanted).images)

    return draw


def films(pipe: Pipeline, options: Options) -> film_judge.Draw:
    """A Draw of the films' captions by a pipeline."""

    def draw(films: Sequence[Film], seed: int) -> Tensor:
        wanted = options | Options(seed=seed, batch_size=len(films), frames=FRAMES)
        return torch.stack([_sized(one.frames) for one in pipe([one.caption for one in films], **wanted).films])

    return draw


def decoded(pipe: Pipeline) -> adherence.Draw:
    """A Draw of the true pictures after the pipeline's autoencoder, the best that drawn pictures can reach."""

    def draw(scenes: Sequence[Scene], seed: int) -> Tensor:
        pixels = adherence.renders(scenes).float() / 127.5 - 1
        with torch.inference_mode():
            return _sized(pipe.images(pipe.codec.encode(pixels[:, None].to(pipe.system.device))))

    return draw


def _sized(images: Iterable[Image.Image]) -> Tensor:
    """Images as (B, 3, 128, 128) uint8."""
    sized = [np.asarray(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)) for image in images]
    return torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2)
