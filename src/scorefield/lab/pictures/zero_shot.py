"""Name pictures without having learned to name: the caption with the highest cosine is the answer.

CLIP learned only which caption belongs to which picture. Yet it classifies anything that can be put into words: write a
caption for every possible answer, and take the one whose vector points most like the picture's,

    answer = argmax over captions of cosine(picture(x), text(caption)).

Nobody trained a layer of 67 outputs for the 67 things of these scenes; with other captions the same vectors classify
other things. This is how the original CLIP named three of four photos of ImageNet correctly, 76.2 %, without any of its
labels, and that is the bar here.

The pictures are held-out renders, combinations of thing and place that training never showed, in every style and size.
Two ways to ask are compared: one caption per thing, "a cat", and the mean over the same thing in all places ("a cat in
the desert", "a cat on the beach"), like the eighty sentences of the original.

The matrix is the usual illustration of CLIP: eight pictures, their eight captions, and the cosines of all pairs.
Training pushed the diagonal up and the rest down. For groups of eight pictures of different things, the experiment
counts how often a picture's own caption is the best of its column. Most captions do not say everything, for instance
the place; it is enough that the seven others say something wrong.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from scorefield.data.captions import article
from scorefield.data.scenes import Scene
from scorefield.data.things import NAMES
from scorefield.evals.adherence import renders
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, Settings, Watch
from scorefield.lab.pictures import embedded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUP = 8  # pictures and captions of a matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotSettings(Settings):
    """The number of groups of eight pictures."""

    groups: Annotated[int, Field(ge=1, le=1000)] = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Cosines of every group (groups, 8 pictures, 8 captions), and the pictures and captions of the first."""

    cosines: Tensor
    pictures: Tensor
    captions: list[str]
    numbers: Mapping[str, float]


def run(settings: ZeroShotSettings, watch: Watch) -> Named:
    """Render, compare with all names and with the captions of the group, and count."""
    groups = _groups(settings)
    things, single, mean = known_names(), names([""]), names(embedded.places())
    pictures, cosines, by_single, by_mean = [], [], [], []
    for group in watch(groups, "naming", len(groups)):
        drawn = renders(group)
        vectors = embedded.picture_vectors(drawn)
        pictures.append(drawn)
        cosines.append(vectors @ embedded.text_vectors([one.caption for one in group]).T)
        truth = torch.tensor([things.index(one.nouns[0].thing) for one in group])
        by_single.append(best(vectors @ single.T) == truth)
        by_mean.append(best(vectors @ mean.T) == truth)
    matrix, named = torch.stack(cosines), torch.stack(by_mean).flatten().float()
    own = torch.eye(GROUP, dtype=torch.bool)
    numbers = {
        "share_named_rightly": float(named.mean()),
        "share_whose_own_caption_is_best_of_eight": float((best(matrix) == torch.arange(GROUP)).float().mean()),
        "mean_cosine_of_own_minus_other": float(matrix[:, own].mean() - matrix[:, ~own].mean()),
        "share_named_rightly_by_one_caption": float(torch.stack(by_single).float().mean()),
        "share_by_chance": 1 / len(things),
        "pictures": float(named.numel()),
    }
    return Named(cosines=matrix, pictures=pictures[0], captions=[one.caption for one in groups[0]],
                 numbers=numbers)  # fmt: skip


def best(cosines: Tensor) -> Tensor:
    """The caption (..., pictures) with the highest cosine (..., pictures, captions)."""
    return cosines.argmax(-1)


def known_names() -> list[str]:
    """The things that CLIP learned to name."""
    return [name for name in NAMES if name in embedded.known("things")]


def names(places: Sequence[str]) -> Tensor:
    """A unit vector (things, E) for each thing: the mean over captions of it with each of the phrases of places."""
    things = known_names()
    said = [embedded.text_vectors([f"{article(name)} {name} {place}".strip() for name in things]) for place in places]
    return normalize(torch.stack(said).mean(0), dim=-1)


def _groups(settings: ZeroShotSettings) -> list[list[Scene]]:
    """Groups of held-out scenes with one thing each; no thing occurs twice in a group."""

    def scenes_of_different_things(stream: Iterator[Scene]) -> list[Scene]:
        group: dict[str, Scene] = {}
        while len(group) < GROUP:
            one = next(stream)
            group.setdefault(one.nouns[0].thing, one)
        return list(group.values())

    stream = embedded.held_out(settings.seed, "single")
    return [scenes_of_different_things(stream) for _ in range(settings.groups)]


def draw(result: Named) -> "Figure":
    """Draw the matrix of eight pictures and their captions."""
    figure, (axes,) = style.figure(width=8.0, height=7.2)
    cosines = result.cosines[0].T  # one row per caption
    axes.imshow(cosines.numpy(), cmap="viridis", vmin=-0.5, vmax=1)
    for j, picture in enumerate(result.pictures):
        axes.imshow(picture.movedim(0, -1).numpy(), extent=(j - 0.48, j + 0.48, -0.58, -1.54))
        for i, value in enumerate(cosines[:, j].tolist()):
            axes.text(
                j, i, f"{value:z.2f}", ha="center", va="center", fontsize=10, color="black" if value > 0.5 else "white",
                weight="bold" if i == j else "normal",
            )  # fmt: skip
    axes.set(xlim=(-0.5, GROUP - 0.5), ylim=(GROUP - 0.5, -1.56), xticks=[])
    axes.set_yticks(range(GROUP), [textwrap.fill(one, 24) for one in result.captions])
    axes.set_anchor("W")  # so that the room left by the aspect ratio is on the right, and no caption is cut off
    axes.set_frame_on(False)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    shares = [result.numbers[name] for name in ("share_named_rightly", "share_whose_own_caption_is_best_of_eight")]
    figure.suptitle(f"{100 * shares[0]:.0f} % of held-out pictures get their name out of {len(known_names())}, "
                    f"{100 * shares[1]:.0f} % their caption out of {GROUP}", fontsize=11)  # fmt: skip
    return figure


zero_shot = Experiment(
    name="zero-shot",
    claim="The caption with the highest cosine names the picture, though CLIP was not trained to name pictures.",
    criteria=(
        Criterion("share_named_rightly", ">=", 0.762),  # of the original CLIP on ImageNet, among 1,000 names
        Criterion("share_whose_own_caption_is_best_of_eight", ">=", 0.9),
        Criterion("mean_cosine_of_own_minus_other", ">=", 0.5),
    ),
    settings=ZeroShotSettings,
    run=run,
    draw=draw,
)
