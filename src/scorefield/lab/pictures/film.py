"""Noise becomes a film: the same walk, in a longer space.

The lesson on how AI images and videos work begins with a film that comes out of pure noise in fifty steps, made by an
open model on one's own machine, and ends with that model's negative prompt, a long list in Chinese of all that a film
should not be. Nothing in the walk knows that it makes a film. The state is one tensor of five latent frames, the
schedule, the sampler and guidance are those of pictures, and one network call sees all frames at once, in attention
over space and time. So the frames do not come one after the other: at every step all of them are equally noisy, and
the whole motion is there, blurred, before any frame is sharp. Half-way, the prediction of no frame is much farther from
its end than that of another.

The negative prompt is the second half of guidance. Each step moves away from what the network predicts for it, and
towards what it predicts for the prompt,

    D = D(negative) + scale (D(prompt) - D(negative)).

With an empty one, guidance moves away from films of any kind. With the model's own,

    blurred, still, moving backwards, flickering, shaking, distorted, low quality

it moves away from bad ones. Such words mean something because the training films have such faults, and captions that
name most of them: a fifth of the films are wrong, and of these two thirds say so.

Both are measured with the same held-out prompts and seeds. A judge finds the things in every frame, and from where they
are decides whether the motion is the one that the prompt names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from scorefield.api import Pipeline, load
from scorefield.data.scripts import FRAMES
from scorefield.evals import drawers, film_judge, judge
from scorefield.evals.interval import Share
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, Settings, Watch
from scorefield.lab.pictures import panel
from scorefield.request import Options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROMPT = "a car drives to the right"
SHARES = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0)  # of the walk, in the figure
SHOWN = tuple(range(0, FRAMES, 4))  # frames in the figure
WITH, WITHOUT = "the model's own", "an empty one"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmSettings(Settings):
    """Films that are drawn with each negative prompt, and the steps of each."""

    films: Annotated[int, Field(ge=1, le=1000)] = 60
    steps: Annotated[int, Field(ge=2, le=1000)] = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Filmed:
    """Frames (looks, frames, 3, H, W) uint8 of the predictions at some steps, and the shares by negative prompt."""

    frames: Tensor
    steps: tuple[int, ...]
    shares: Mapping[str, Mapping[str, Share]]
    numbers: Mapping[str, float]


@cache
def pipeline() -> Pipeline:
    """Load the embedded film model."""
    return load("scenes-film")


def run(settings: FilmSettings, watch: Watch) -> Filmed:
    """Walk to one film, and draw the same films with two negative prompts."""
    pipe, seed = pipeline(), settings.seed
    walk = [step.x0 for step in pipe.stream(PROMPT, steps=settings.steps, seed=seed)]
    end = walk[-1]
    steps = tuple(round(share * (len(walk) - 1)) for share in SHARES)
    looks = [torch.cat([*pipe.codec.decode(walk[i])], 1)[0, list(SHOWN)] for i in watch(steps, "decoding", len(steps))]
    apart = (walk[len(walk) // 2] - end).square().mean((0, 1, 3, 4)).sqrt() / end.square().mean((0, 1, 3, 4)).sqrt()
    look, shares = judge.load(), {}
    for name, options in ((WITH, Options()), (WITHOUT, Options(negative_prompt=""))):
        draw = drawers.films(pipe, options | Options(steps=settings.steps))
        results = film_judge.judged(draw, look, count=settings.films, seed=1000 * seed)
        shares[name] = film_judge.shares(watch(results, f"negative prompt: {name}", settings.films))
    right, without = (shares[name]["all"].rate for name in (WITH, WITHOUT))
    numbers = {
        "share_right": right,
        "share_right_with_an_empty_negative_prompt": without,
        "points_lost_with_an_empty_negative_prompt": 100 * (right - without),
        "farthest_frame_over_nearest_half_way": float(apart.max() / apart.min()),
    }
    return Filmed(frames=((torch.stack(looks) + 1) * 127.5).round().byte(), steps=steps, shares=shares,
                  numbers=numbers)  # fmt: skip


def draw(result: Filmed) -> "Figure":
    """Draw the predictions of one walk, and the shares of right films with both negative prompts."""
    heights = (1.25 * len(result.frames), 2.0)  # inches
    figure, axes = style.mosaic([["frames"], ["shares"]], width=6.6, height=sum(heights) + 0.9, heights=heights)
    columns = [f"frame {k}" for k in SHOWN]
    panel.show(axes["frames"], result.frames, columns, [f"step {k}" for k in result.steps], f"\u201c{PROMPT}\u201d")
    names = list(result.shares[WITH])
    for k, (name, colour) in enumerate(((WITH, style.LEARNED), (WITHOUT, style.RANDOM))):
        found = [result.shares[name][part] for part in names]
        places = [place + 0.38 * (k - 0.5) for place in range(len(names))]
        ends = [[one.rate - one.low for one in found], [one.high - one.rate for one in found]]
        axes["shares"].bar(places, [one.rate for one in found], 0.36, color=colour, label=name, yerr=ends)
    axes["shares"].set(title="share of right films, by negative prompt", ylim=(0, 1.02))
    axes["shares"].set_xticks(range(len(names)), names)
    axes["shares"].legend(loc="lower left")
    return figure


film = Experiment(
    name="film",
    claim="All frames of a film come out of the noise at once, and the default negative prompt makes more films right.",
    criteria=(
        Criterion("share_right", ">=", 0.7),
        Criterion("points_lost_with_an_empty_negative_prompt", ">=", 10),
        Criterion("farthest_frame_over_nearest_half_way", "<=", 2.5),
    ),
    settings=FilmSettings,
    run=run,
    draw=draw,
)
