"""At every step the network predicts the final picture: blurry at first, then the prediction converges.

A denoiser never sees a clean picture, but it always predicts one. From a state x = alpha x0 + sigma eps and the
network's output it computes x0; for a network that predicts the noise of x = x0 + sigma eps that is

    x0 = x - sigma * prediction,

and for this model, a rectified flow with alpha + sigma = 1 whose output is eps - x0, the formula is exactly the same.
In pure noise nothing is known but the words, so the first prediction is the mean of all pictures that the words allow,
and a mean of pictures is a blur. With every step more of them are ruled out.

Guidance adds a twist: it exaggerates what the words say, most of all where nothing else is known. So the first
prediction is not only blurry but far too bright and coloured, and the first step undoes most of that.

The experiment draws several prompts and keeps the noisy state and the prediction of every step. The distance is the
root mean square distance of the predicted latents from the final ones, over that at the first step. A walk that
converges comes nearer with nearly every step, and is most of the way there when half of each state is still noise. The
blur of a prediction is measured by the energy of its edges.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from typing import TYPE_CHECKING, Annotated

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from scorefield.lab import style
from scorefield.lab.experiment import Animation, Criterion, Experiment, Settings, Watch
from scorefield.lab.pictures import embedded, measure, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROMPTS = (
    "a tree in the desert",
    "a red car in the city",
    "a penguin in the snow",
    "a parrot in the forest",
    "an astronaut in space",
    "a campfire at night",
)
SHOWN = 3  # prompts in the figure and the animation
MOMENTS = (0, 10, 20, 30, 45, 60, 80, 100)  # percent of the walk
ROWS = ("state", "predic-\ntion")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsSettings(Settings):
    """The steps of the walk."""

    steps: Annotated[int, Field(ge=10, le=1000)] = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """The decoded state and prediction of each step and prompt (steps + 1, prompts, 3, H, W), and their quality.

    `distance` (steps + 1, prompts) to the final latents, 1 at the first step; `sharp`, relative to the final picture.
    """

    states: Tensor
    predictions: Tensor
    distance: Tensor
    sharp: Tensor
    numbers: Mapping[str, float]


def run(settings: StepsSettings, watch: Watch) -> Stepped:
    """Walk, and measure every prediction."""
    seeds = [1000 * settings.seed + k for k in range(len(PROMPTS))]
    denoise, levels = embedded.guided(embedded.words(PROMPTS)), embedded.levels(settings.steps)
    walk = embedded.walk(denoise, embedded.start(seeds), levels)
    passed, states, predictions = [], [], []
    for step in watch(walk, "walking", settings.steps + 1):
        passed.append(step.x0.cpu())
        states.append(_decoded(step.x[:SHOWN] / hypot(*step.at)))  # a decoder expects unit variance
        predictions.append(_decoded(step.x0))
    apart = torch.stack([(x0 - passed[-1]).square().mean((1, 2, 3)).sqrt() for x0 in passed])
    sharp = torch.stack([measure.sharpness(drawn) for drawn in predictions])
    distance, sharp = apart / apart[0], sharp / sharp[-1]
    mean = distance.mean(1).tolist()
    nearer = [after < before for before, after in pairwise(mean)]
    numbers = {
        "share_of_steps_that_come_nearer": sum(nearer) / len(nearer),
        "distance_half_way": mean[settings.steps // 2],
        "distance_after_nine_tenths": mean[settings.steps * 9 // 10],
        "sharpness_of_the_first_prediction": float(sharp[0].mean()),
    }
    return Stepped(
        states=torch.stack(states), predictions=torch.stack(predictions), distance=distance, sharp=sharp,
        numbers=numbers,
    )  # fmt: skip


def _decoded(x0: Tensor) -> Tensor:
    return embedded.bytes_of(embedded.images(x0))


def draw(result: Stepped) -> "Figure":
    """Draw state and prediction at some moments, and the distance of all predictions to their pictures."""
    figure, (above, below) = style.figure(2, 1, width=8.0, height=8.6)
    panel.ratios(above, heights=(2 * SHOWN * 1.0, 2.1))
    steps = len(result.states) - 1
    at = [percent * steps // 100 for percent in MOMENTS]
    both = torch.stack([result.states[at], result.predictions[at, :SHOWN]], 2)  # (moments, prompts, kinds, 3, H, W)
    panel.show(above, both.movedim(0, 2).flatten(0, 1), [f"step {k}" for k in at], ROWS * SHOWN)
    for k, prompt in enumerate(PROMPTS):
        below.plot(range(steps + 1), result.distance[:, k], color=style.SERIES[k], linewidth=1, label=prompt)
    below.plot(range(steps + 1), result.distance.mean(1), color=style.DATA, linewidth=2.4, label="mean")
    below.set(xlabel="step", ylabel="distance from the picture", ylim=(0, None), xlim=(0, steps))
    style.legend(below, "upper right")
    return figure


def animate(result: Stepped) -> Animation:
    """The noisy state and the predicted clean picture at every step."""

    def frames() -> Iterator[Image.Image]:
        figure, (axes,) = style.figure(width=6.0, height=4.2)
        both = torch.stack([result.states, result.predictions[:, :SHOWN]], 1)  # (steps + 1, kinds, prompts, 3, H, W)
        shown = panel.show(axes, both[0], PROMPTS[:SHOWN], ROWS, "step 0")

        def update(step: int) -> None:
            shown.set_data(panel.mosaic(both[step]).numpy())
            axes.set_title(f"step {step} of {len(both) - 1}")

        yield from style.frames(figure, update, range(len(both)), dpi=100)

    return Animation(frames(), per_second=10)


steps = Experiment(
    name="steps",
    claim="The predicted clean picture is blurry at first and comes nearer to the final one with nearly every step.",
    criteria=(
        Criterion("share_of_steps_that_come_nearer", ">=", 0.9),
        Criterion("distance_half_way", "<=", 0.5),
        Criterion("distance_after_nine_tenths", "<=", 0.15),
        Criterion("sharpness_of_the_first_prediction", "<=", 0.5),
    ),
    settings=StepsSettings,
    run=run,
    draw=draw,
    animate=animate,
)
