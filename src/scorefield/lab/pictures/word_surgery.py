"""Surgery on a word: its vector in the prompt is replaced by another.

Before the text encoder reads a prompt, each of its tokens is a vector, a row of a table. Nothing says that it must stay
that row. In the lesson that takes Stable Diffusion apart, the vector of "puppy" is replaced by that of another token
and a cat appears; then it is replaced by something that no word means, the average of two,

    v = (1 - share) v(puppy) + share v(skunk),

and out comes a hybrid: a puppy with something of a skunk.

Here both are done to "a puppy in a meadow", and the embedded model draws all pictures from the same noise. The first is
measured by a judge, a detector of rendered scenes: it must find a cat, and no puppy. It is also no different from
writing the word, so the condition must be that of "a cat in a meadow" to the last bit; the same holds for both ends of
the row. Where such a change has an effect at all is the subject of the experiment `tokens`: only in what follows the
word.

Whether a hybrid is one is measured with CLIP, which compares a picture with a text. The likeness of the half-way
pictures to each parent is scaled so that the other parent's pictures have 0 and its own have 1,

    likeness = (cosine(hybrid, text) - cosine(other, text)) / (cosine(own, text) - cosine(other, text)).

A picture that just flipped to one side would have 1 for one and 0 for the other. The bound is a fifth for both.

The change from one word to the other is uneven: for a third of the way hardly anything happens, then the fur pales and
gets its black patches, and only at the end does the head turn into a whole animal. The judge, which can only choose
among 67 things, calls some of the hybrids a panda, which is a good answer for a white face with black patches.
"""

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.evals.judge import Seen
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, LabError, Settings, Watch
from scorefield.lab.pictures import embedded, measure, panel
from scorefield.prompt import surgery as operate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.0, 0.4, 0.5, 0.6, 1.0)  # of the second word
SHOWN = 4  # seeds in the figure


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgerySettings(Settings):
    """The prompt, the word to replace, its replacement, and the word to mix it with."""

    prompt: str = "a puppy in a meadow"
    word: str = "puppy"
    instead: str = "cat"
    mixed: str = "skunk"
    pictures: Annotated[int, Field(ge=1, le=64)] = 6
    steps: Annotated[int, Field(ge=2, le=1000)] = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Operated:
    """Pictures (1 + shares, seeds, 3, H, W), first those of the replacement, and the judge's findings in each."""

    settings: SurgerySettings
    pictures: Tensor
    seen: list[list[Seen]]
    likeness: Tensor  # (2, shares), to the first and the second word
    numbers: Mapping[str, float]


def run(settings: SurgerySettings, watch: Watch) -> Operated:
    """Change the vectors, draw and judge."""
    word, other = settings.word, settings.mixed
    embedded.read(settings.prompt)
    if word == other:
        raise LabError(f"{word!r} cannot be mixed with itself; give another word")
    weights = [{settings.instead: 1.0}, *({word: 1 - share, other: share} for share in SHARES)]
    try:
        conds = [_operated(settings, one) for one in weights]
        written = [embedded.words([_written(settings, name)]) for name in (settings.instead, word, other)]
    except ValueError as error:
        raise LabError(str(error)) from None
    seeds, levels = [1000 * settings.seed + k for k in range(settings.pictures)], embedded.levels(settings.steps)
    drawn = []
    for cond in watch(conds, "drawing", len(conds)):
        denoise = embedded.guided(embedded.repeated(cond, len(seeds)))
        x0 = embedded.end(embedded.walk(denoise, embedded.start(seeds), levels))
        drawn.append(embedded.bytes_of(embedded.images(x0)))
    pictures = torch.stack(drawn)
    seen = [embedded.look(some) for some in drawn]
    texts = embedded.text_vectors([settings.prompt, _written(settings, other)])
    cosines = torch.stack([embedded.picture_vectors(some) for some in drawn[1:]]) @ texts.T  # (shares, seeds, parents)
    like_word, like_other = likeness(cosines.mean(1)).unbind(1)
    half = SHARES.index(0.5)
    numbers = {
        "share_that_show_the_word_put_in": _share(seen[0], settings.instead),
        "share_that_still_show_the_word_taken_out": _share(seen[0], word),
        "largest_difference_from_writing_the_word": _apart([conds[0], conds[1], conds[-1]], written),
        "likeness_of_the_hybrid_to_the_first": float(like_word[half]),
        "likeness_of_the_hybrid_to_the_second": float(like_other[half]),
        **{f"likeness_to_the_second_at_{share:g}": float(like_other[k]) for k, share in enumerate(SHARES)},
        "share_with_the_first_at_0": _share(seen[1], word),
        "share_with_the_second_at_1": _share(seen[-1], other),
        "share_of_hybrids_that_the_judge_calls_something_else": _share_of_neither(seen[1 + half], word, other),
    }
    return Operated(settings=settings, pictures=pictures, seen=seen, likeness=torch.stack([like_word, like_other]),
                    numbers=numbers)  # fmt: skip


def _written(settings: SurgerySettings, name: str) -> str:
    """The prompt with another word in place of the one to replace."""
    return re.sub(rf"\b{re.escape(settings.word)}\b", name, settings.prompt, flags=re.IGNORECASE)


def _operated(settings: SurgerySettings, weights: Mapping[str, float]) -> Cond:
    """The condition for the prompt with the mean of several words in place of one."""
    reader = embedded.conditioner()
    opened = operate.opened(reader, [settings.prompt])
    vector = operate.mean(reader, weights)
    return operate.closed(reader, operate.replaced(reader, opened, settings.word, vector))


def likeness(cosines: Tensor) -> Tensor:
    """Cosines (shares, 2) with the texts of both words, scaled to 0 at the other word's end and 1 at its own.

    0 for a word to which both ends are equally similar.
    """
    other = torch.stack([cosines[-1, 0], cosines[0, 1]])
    own = torch.stack([cosines[0, 0], cosines[-1, 1]])
    return torch.where(own == other, 0.0, (cosines - other) / torch.where(own == other, 1.0, own - other))


def _apart(some: list[Cond], others: list[Cond]) -> float:
    """The largest difference between the tokens of two rows of conditions."""
    pairs = [(a.tokens, b.tokens) for a, b in zip(some, others, strict=True)]
    return max(float((a - b).abs().max()) for a, b in pairs if a is not None and b is not None)


def _share(seen: list[Seen], thing: str) -> float:
    """The share of pictures in which the judge finds a thing."""
    return sum(measure.shows(one, thing) for one in seen) / len(seen)


def _share_of_neither(seen: list[Seen], *things: str) -> float:
    """The share of pictures in which the judge finds none of these things."""
    return sum(not any(measure.shows(one, thing) for thing in things) for one in seen) / len(seen)


def draw(result: Operated) -> "Figure":
    """Draw the same noise with every vector, the judge's findings, and the similarity to both parents."""
    first, second = result.settings.word, result.settings.mixed
    names = [result.settings.instead, *(f"{100 * (1 - share):.0f} : {100 * share:.0f}" for share in SHARES)]
    figure, (above, below) = style.figure(2, 1, width=8.0, height=7.9)
    shown = result.pictures[:, :SHOWN].transpose(0, 1)
    panel.ratios(above, heights=(1.42 * len(shown), 1.9))
    panel.show(above, shown, names)
    title = f"\u201c{result.settings.prompt}\u201d with another vector for \u201c{first}\u201d; {first} : {second} in %"
    above.set_title(textwrap.fill(title, 80))
    height, width = shown.shape[-2:]
    for j, some in enumerate(result.seen):
        for i, one in enumerate(some[:SHOWN]):
            words = " + ".join(found.thing.replace("something ", "") for found in one.found) or "nothing"
            above.text(
                j * (width + panel.GAP) + 4, i * (height + panel.GAP) + height - 6, words, fontsize=8, color="white",
                bbox={"boxstyle": "round,pad=0.2", "fc": "black", "ec": "none", "alpha": 0.55},
            )  # fmt: skip
    for name, likes, colour in zip((first, second), result.likeness, (style.LEARNED, style.EXACT), strict=True):
        below.plot([100 * share for share in SHARES], likes, "o-", color=colour, label=f"like \u201c{name}\u201d")
    below.set(xlabel=f"% of \u201c{second}\u201d in the vector", ylabel="likeness, by CLIP")
    style.legend(below, "center left")
    return figure


surgery = Experiment(
    name="surgery",
    claim="Another vector in place of a word's puts another thing in the picture, and the mean of two a hybrid.",
    criteria=(
        Criterion("share_that_show_the_word_put_in", ">=", 0.8),
        Criterion("share_that_still_show_the_word_taken_out", "<=", 0.1),
        Criterion("largest_difference_from_writing_the_word", "<=", 1e-6),
        Criterion("likeness_of_the_hybrid_to_the_first", ">=", 0.2),
        Criterion("likeness_of_the_hybrid_to_the_second", ">=", 0.2),
    ),
    settings=SurgerySettings,
    run=run,
    draw=draw,
)
