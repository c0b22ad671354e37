"""Half mouse, half leopard: a prompt is a list of vectors, and vectors can be mixed.

The words of a prompt reach the network as vectors, one for every token, after the text encoder has let each of them
look at those before it. Nothing says that a vector has to come from a word. Between the final vectors of two prompts
lies a straight line,

    cond = (1 - factor) cond(first) + factor cond(second),

and every point of it is a possible input of the network.

The experiment follows that line for two pairs, a mouse and a leopard, and a cat and a snake, always from the same
noise. CLIP measures the similarity of each picture to both names. If meaning is as smooth as the line, the similarity
moves from the first name to the second without stepping back. The measurements are the difference of the two cosine
similarities, averaged over the seeds, its largest step back as a share of the whole way, and the name that CLIP would
choose at the ends. The votes of the judge, which must be sure of what it sees, are drawn next to it: in between it is
often sure of neither, and that is where the hybrids are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from scorefield.core.cond import cat
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, Settings, Watch
from scorefield.lab.pictures import embedded, measure, panel
from scorefield.prompt import surgery

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = (("mouse", "leopard"), ("cat", "snake"))
PROMPT = "a {} in a meadow"
SHOWN = 2  # seeds of each pair in the figure


@dataclass(frozen=True, slots=True, kw_only=True)
class MixSettings(Settings):
    """The number of factors from 0 to 1, the seeds drawn with each, and the steps of each walk."""

    factors: Annotated[int, Field(ge=3, le=101)] = 7
    pictures: Annotated[int, Field(ge=1, le=64)] = 4
    steps: Annotated[int, Field(ge=2, le=1000)] = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """Pictures (pairs, factors, seeds, 3, H, W), and CLIP's similarity to the second name minus that to the first.

    `leaning` (pairs, factors, seeds) is that difference of cosines; `votes` (pairs, 2, factors) the share of pictures
    in which the judge finds the first, and the second.
    """

    factors: Tensor
    pictures: Tensor
    leaning: Tensor
    votes: Tensor
    numbers: Mapping[str, float]


def run(settings: MixSettings, watch: Watch) -> Mixed:
    """Draw pictures between two prompts, and evaluate them by CLIP and the judge."""
    factors, levels = torch.linspace(0, 1, settings.factors), embedded.levels(settings.steps)
    seeds = [1000 * settings.seed + k for k in range(settings.pictures)]
    pictures, leaning, votes = [], [], []
    for names in watch(PAIRS, "mixing", len(PAIRS)):
        first, second = (embedded.words([PROMPT.format(name)]) for name in names)
        conds = surgery.between(first, second, factors)
        each = cat([embedded.repeated(conds[k : k + 1], len(seeds)) for k in range(len(factors))])
        x0 = embedded.end(embedded.walk(embedded.guided(each), embedded.start(seeds * len(factors)), levels))
        drawn = embedded.bytes_of(embedded.images(x0))
        likeness = embedded.picture_vectors(drawn) @ embedded.text_vectors([PROMPT.format(name) for name in names]).T
        found = torch.tensor([[measure.shows(one, name) for name in names] for one in embedded.look(drawn)]).float()
        grid = (len(factors), len(seeds))
        pictures.append(drawn.reshape(*grid, *drawn.shape[1:]))
        leaning.append((likeness[:, 1] - likeness[:, 0]).reshape(grid))
        votes.append(found.reshape(*grid, 2).mean(1).T)
    measured = torch.stack(leaning)
    return Mixed(
        factors=factors, pictures=torch.stack(pictures), leaning=measured, votes=torch.stack(votes),
        numbers=numbers(measured),
    )  # fmt: skip


def numbers(leaning: Tensor) -> dict[str, float]:
    """Numbers for the similarity (pairs, factors, seeds), for the worse of the pairs."""
    means = leaning.mean(2).tolist()
    return {
        "largest_step_back_over_the_way": max(map(step_back, means)),
        "share_named_first_at_0": float((leaning[:, 0] < 0).float().mean(1).min()),
        "share_named_second_at_1": float((leaning[:, -1] > 0).float().mean(1).min()),
        "rank_correlation_with_the_factor": min(measure.rank_correlation(range(len(way)), way) for way in means),
    }


def step_back(way: Sequence[float]) -> float:
    """The largest fall of a rising curve, as a share of its rise; 1 if it does not rise."""
    rise = way[-1] - way[0]
    fall = max(0.0, *(before - after for before, after in pairwise(way)))
    return fall / rise if rise > fall else 1.0


def draw(result: Mixed) -> "Figure":
    """Draw the pictures between the names, with the results of CLIP and the judge."""
    figure, axes = style.figure(3, 1, width=8.0, height=7.9)
    panel.ratios(axes[0], heights=(2.5, 2.5, 2.3))
    names = [f"{float(factor):.2f}" for factor in result.factors]
    for plot, pair, drawn in zip(axes, PAIRS, result.pictures, strict=False):
        shown = drawn[:, :SHOWN].transpose(0, 1)
        panel.show(plot, shown, names, title=f"from \u201c{pair[0]}\u201d to \u201c{pair[1]}\u201d")
    below, colours = axes[-1], (style.LEARNED, style.OTHER)
    for pair, leaning, votes, colour in zip(PAIRS, result.leaning, result.votes, colours, strict=True):
        below.plot(result.factors, leaning.mean(1), "o-", color=colour, label=f"CLIP: {pair[1]} less {pair[0]}")
        below.plot(result.factors, votes[1] - votes[0], ":", color=colour, label=f"judge: {pair[1]} less {pair[0]}")
    below.axhline(0, color=style.DATA, linewidth=0.8)
    below.set(xlabel="factor", ylabel="cosine, or share", xlim=(0, 1), ylim=(-1.05, 1.05))
    style.legend(below, "upper left")
    return figure


mix = Experiment(
    name="mix",
    claim="Between the embeddings of two prompts the pictures go from one name to the other without stepping back.",
    criteria=(
        Criterion("largest_step_back_over_the_way", "<=", 0.1),
        Criterion("share_named_first_at_0", ">=", 0.75),
        Criterion("share_named_second_at_1", ">=", 0.75),
    ),
    settings=MixSettings,
    run=run,
    draw=draw,
)
