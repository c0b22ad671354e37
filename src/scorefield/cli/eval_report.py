"""Shared by the eval commands: drawing with a model, and results as a table and as JSON."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from scorefield.api import Pipeline, load
from scorefield.data.paint import SIZE
from scorefield.data.scenes import Scene
from scorefield.evals import adherence
from scorefield.evals.interval import Share
from scorefield.evals.judge import Judge
from scorefield.request import Options

Shares = Mapping[str, Share]
Draws = Callable[[float | None], adherence.Draw]  # guidance scale, None for the model's own -> Draw


class Asked(NamedTuple):
    """A model to judge, the scenes it can draw, and the true pictures after its autoencoder."""

    draws: Draws
    askable: adherence.Askable
    bound: adherence.Draw


def drawer(pipe: Pipeline, options: Options) -> adherence.Draw:
    """A Draw of the scenes' captions by a pipeline, in the judge's size."""

    def draw(scenes: Sequence[Scene], seed: int) -> Tensor:
        wanted = options | Options(seed=seed, batch_size=len(scenes))
        result = pipe([one.caption for one in scenes], **wanted)
        sized = [image.resize((SIZE, SIZE), Image.Resampling.LANCZOS) for image in result.images]
        return torch.from_numpy(np.stack([np.asarray(image) for image in sized])).permute(0, 3, 1, 2)

    return draw


def decoder(pipe: Pipeline) -> adherence.Draw:
    """A Draw of the true pictures after the pipeline's autoencoder, the best that drawn pictures can reach."""

    def draw(scenes: Sequence[Scene], seed: int) -> Tensor:
        pixels = adherence.renders(scenes).float() / 127.5 - 1
        with torch.inference_mode():
            images = pipe.images(pipe.codec.encode(pixels[:, None].to(pipe.system.device)))
        return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)

    return draw


def asked(model: str, options: Options, judge: Judge) -> Asked:
    """Load a model, which can draw the scenes whose words it and the judge know; RequestError for an unknown model."""
    pipe = load(model)

    def askable(one: Scene) -> bool:
        return judge.labels.knows(one) and not pipe.stage.conditioner.unknown([one.caption])

    return Asked(lambda scale: drawer(pipe, Options(**options, cfg_scale=scale)), askable, decoder(pipe))


def truth(scale: float | None) -> adherence.Draw:
    """The Draws of the true renders, which ignore the guidance scale."""
    return adherence.renders


def watched(results: Iterator[adherence.Judged], total: int, name: str) -> Iterator[adherence.Judged]:
    """The same results behind a progress bar on stderr that shows the share of right pictures."""
    right = 0
    with tqdm(results, total=total, desc=name, unit="picture", leave=False, disable=None) as bar:
        for k, one in enumerate(bar, 1):
            right += not one.faults
            bar.set_postfix(right=f"{100 * right / k:.1f} %", refresh=False)
            yield one


def verdict(one: adherence.Judged) -> dict[str, object]:
    """The verdict on a picture as plain JSON."""
    return {
        "task": one.scene.task,
        "prompt": one.scene.caption,
        "seed": one.seed,
        "right": not one.faults,
        "faults": one.faults,
        "found": [found._asdict() for found in one.seen.found],
        "place": one.seen.place,
    }


def numbers(shares: Shares) -> dict[str, dict[str, float]]:
    """The table as plain JSON."""
    return {
        task: {name: value if name == "n" else round(value, 4) for name, value in share._asdict().items()}
        for task, share in shares.items()
    }


def table(shares: Shares, of: str = "task") -> str:
    """The table as text."""
    lines = [f"{of:<10} {'right':>7}  {'95 % interval':>15}  {'n':>5}"]
    for task, share in shares.items():
        low, high = f"{100 * share.low:.1f}", f"{100 * share.high:.1f}"
        lines.append(f"{task:<10} {100 * share.rate:5.1f} %  {low:>6} - {high:>5} %  {share.n:>5}")
    return "\n".join(lines)
