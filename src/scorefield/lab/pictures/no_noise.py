"""Leave out the added noise, and whatever the prompt leaves open becomes a blur.

DDPM's sampler does something strange. It walks from noise to a picture, and after every step towards the picture it
adds fresh noise:

    x' = alpha' x0 + sqrt(sigma'^2 - up^2) eps + up z,        z ~ N(0, 1).

Here x0 is the clean picture that the network predicts, eps the noise that it predicts in x, and up the amount of the
next level's noise that is drawn fresh. It is tempting to leave z out: why add what the next step must remove again? In
the video about AI pictures, Stable Diffusion without it turns a tree in the desert into a small sad blur.

The experiment draws the same seeds twice, with z and with z = 0, and changes nothing else; guidance is off (alpha = 1),
since it would push the averages away from being averages. Without z each state has less noise than its level says. The
network predicts the mean of all clean pictures that could be behind x; at a level with more noise than there is, it
takes the last traces of detail for noise, and averages over all possible pictures.

The curve shows the noise that the network predicts in its states, relative to that of the level. With fresh noise it is
one, until near the end the rest can no longer be distinguished from the picture. Without, it is gone after the first
step: from pure noise, where alpha = 0, DDPM draws all the noise fresh, and nothing is left of the seed except its small
effect on the first prediction, which should be one mean for all seeds. Sharpness is measured by the energy of the
edges, the mean squared step of brightness from one pixel to the next; a judge that was trained on rendered scenes
decides whether the tree is still a tree.

The surprise is that the tree of a small model does not become a blur. This world has one tree and a few deserts, so
that even their average is a tree in a desert; only the shading of its crown is lost. But the more is left open, the
more is lost: "a tree" without a place is drawn in front of an empty wall, and with no words at all only the wall is
left. These two prompts, and the last criterion, were added after this was seen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from scorefield.core.level import eps_of
from scorefield.lab import style
from scorefield.lab.experiment import Animation, Criterion, Experiment, Settings, Watch
from scorefield.lab.pictures import embedded, measure, panel
from scorefield.sample.walk import Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROMPTS = ("a tree in the desert", "a tree", "")
NAMES = ("\u201ca tree in the desert\u201d", "\u201ca tree\u201d", "no words")
ROWS = ("with\nnoise", "without")
SHOWN = 3  # seeds of each prompt in the figure


@dataclass(frozen=True, slots=True, kw_only=True)
class NoNoiseSettings(Settings):
    """The seeds of each prompt, the steps of each walk, and the guidance scale."""

    pictures: Annotated[int, Field(ge=1, le=64)] = 4
    steps: Annotated[int, Field(ge=4, le=1000)] = 60
    alpha: Annotated[float, Field(ge=0, le=100)] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoNoise:
    """Pictures (with or without, prompts, seeds, 3, H, W), and predicted noise relative to the level's, (2, steps).

    `predictions` (2, steps + 1, prompts, 3, H, W) are the predicted clean pictures along the walks of the first seeds.
    """

    pictures: Tensor
    noise: Tensor
    predictions: Tensor
    numbers: Mapping[str, float]


def run(settings: NoNoiseSettings, watch: Watch) -> NoNoise:
    """Walk twice from the same noise, with fresh noise and with zeros instead."""
    count = settings.pictures
    seeds = [1000 * settings.seed + k for k in range(count)] * len(PROMPTS)
    denoise = embedded.guided(embedded.words([prompt for prompt in PROMPTS for _ in range(count)]), settings.alpha)
    levels = embedded.levels(settings.steps)
    nothing = torch.zeros_like(embedded.start(seeds).initial)
    runs = embedded.start(seeds), embedded.start(seeds)._replace(step=lambda at, to: nothing)
    walks = [
        list(watch(embedded.walk(denoise, fresh, levels, "ddpm"), what, settings.steps + 1))
        for fresh, what in zip(runs, ("walking with noise", "walking without"), strict=True)
    ]
    drawn = torch.stack([_decoded(steps[-1].x) for steps in walks])
    pictures = drawn.reshape(2, len(PROMPTS), count, *drawn.shape[2:])
    held = [[float(eps_of(s.x, s.x0, s.at).square().mean().sqrt()) for s in steps[:-1]] for steps in walks]
    return NoNoise(
        pictures=pictures,
        noise=torch.tensor(held),
        predictions=torch.stack([_predictions(steps, count) for steps in walks]),
        numbers=numbers(pictures) | {"noise_half_way_without": held[1][settings.steps // 2]},
    )


def numbers(pictures: Tensor) -> dict[str, float]:
    """Sharpness, difference between seeds and share of trees without the noise, relative to with it."""
    sharp = [[float(measure.sharpness(drawn).mean()) for drawn in prompts] for prompts in pictures]
    left = [without / max(with_noise, 1e-9) for with_noise, without in zip(*sharp, strict=True)]
    trees = [[measure.shows(one, "tree") for one in embedded.look(prompts[0])] for prompts in pictures]
    return {
        "sharpness_left_of_a_tree_in_the_desert": left[0],
        "sharpness_left_of_a_tree": left[1],
        "sharpness_left_of_no_words": left[2],
        "share_with_a_tree_with_noise": sum(trees[0]) / len(trees[0]),
        "share_with_a_tree_without": sum(trees[1]) / len(trees[1]),
    }


def _predictions(steps: list[Step], count: int) -> Tensor:
    return torch.stack([_decoded(step.x0[::count]) for step in steps])


def _decoded(x0: Tensor) -> Tensor:
    return embedded.bytes_of(embedded.images(x0))


def draw(result: NoNoise) -> "Figure":
    """Draw the same seeds with and without the noise, and the noise in their states."""
    figure, (above, below) = style.figure(2, 1, width=8.0, height=4.6)
    panel.ratios(above, heights=(2.0, 1.9))
    shown = result.pictures[:, :, :SHOWN]
    names = [""] * (len(NAMES) * shown.shape[2])
    names[shown.shape[2] // 2 :: shown.shape[2]] = NAMES
    panel.show(above, shown.flatten(1, 2), names, ROWS)
    steps = range(result.noise.shape[1])
    below.axhline(1, color=style.EXACT, linewidth=1, linestyle="--", label="the noise for which the network is called")
    below.plot(steps, result.noise[0], color=style.LEARNED, label="the noise in the state, with fresh noise")
    below.plot(steps, result.noise[1], color=style.RANDOM, label="the noise in the state, without")
    below.set(xlabel="step", ylabel="noise in the state", ylim=(0, None), xlim=(0, len(steps) - 1))
    style.legend(below, "center left")
    return figure


def animate(result: NoNoise) -> Animation:
    """The predicted clean picture at every step, with the noise above and without it below."""

    def frames() -> Iterator[Image.Image]:
        figure, (axes,) = style.figure(width=6.0, height=4.2)
        shown = panel.show(axes, result.predictions[:, 0], NAMES, ROWS, "step 0")

        def update(step: int) -> None:
            shown.set_data(panel.mosaic(result.predictions[:, step]).numpy())
            axes.set_title(f"the prediction at step {step}")

        yield from style.frames(figure, update, range(result.predictions.shape[1]), dpi=100)

    return Animation(frames(), per_second=10)


no_noise = Experiment(
    name="no-noise",
    claim="Without the noise that DDPM adds at every step, a tree in the desert becomes a blur.",
    criteria=(
        Criterion("share_with_a_tree_with_noise", ">=", 0.7),
        Criterion("share_with_a_tree_without", "<=", 0.35),
        Criterion("sharpness_left_of_a_tree_in_the_desert", "<=", 0.5),
        Criterion("sharpness_left_of_no_words", "<=", 0.5),
    ),
    settings=NoNoiseSettings,
    run=run,
    draw=draw,
    animate=animate,
    reason="In a world with one tree and few deserts even the average of all trees in deserts is one, only without the "
    "shading of its crown. Where the prompt leaves more open, more is averaged away: without words, everything "
    "except the wall.",
)
