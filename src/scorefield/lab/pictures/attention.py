"""Where the network looks: each place of the picture attends most to the word for what it will show.

The generator cuts its picture into 8 x 8 patches. In every block each patch has a query, and each word of the prompt,
like each other patch, has a key. How well they match decides how much the patch attends to the word,

    attention = softmax(query . key),

averaged over all blocks and heads. The shares of one word at all patches are a map of the picture.

The network never got the positions of things. It learned from captions and pictures alone, and yet the map of "tree" is
the tree: the judge, a detector of rendered scenes, finds each thing in the finished picture, and the word gets several
times as much attention there as elsewhere. The word for the place gets its attention around the thing.

Two more things can be seen. Small words matter: "in", next to "tree", gets attention where the tree is, since a text
transformer writes what it has read so far into every later token; that is the subject of the experiment `tokens`. And
the maps are there from the very first step, when the state is noise and the prediction a blur: the network decides
first where, then what.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from scorefield.core.cond import Cond
from scorefield.core.denoiser import Denoise, Preconditioned
from scorefield.core.level import Level
from scorefield.evals.judge import Found, Seen
from scorefield.lab import style
from scorefield.lab.experiment import Animation, Criterion, Experiment, LabError, Settings, Watch
from scorefield.lab.pictures import embedded, panel
from scorefield.nets.dit import Dit
from scorefield.nets.probe import Attended, probed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# The measured prompts: a thing in a place, and two things in a relation.
SINGLES = (
    ("tree", "in the desert"), ("car", "in the city"), ("penguin", "in the snow"), ("dog", "on the beach"),
    ("parrot", "in the forest"), ("astronaut", "in space"), ("robot", "in a room"), ("fox", "in a meadow"),
)  # fmt: skip
PAIRS = (
    ("dog", "left of", "tree"), ("car", "right of", "house"), ("parrot", "above", "robot"), ("cat", "below", "balloon"),
)  # fmt: skip
HALF = 32  # px: half the side of the box around a thing; a single thing is about 60 px long
MOMENTS = (0, 15, 40, 100)  # percent of the walk in the figure
DARK = 0.15  # brightness of a picture where the word gets no attention
WORDS = 10  # columns in the figure


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSettings(Settings):
    """The prompt of the figure and animation, and the steps of the walks."""

    prompt: str = "a dog left of a tree in the snow"
    steps: Annotated[int, Field(ge=4, le=1000)] = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The words of the drawn prompt, predictions (steps, 3, H, W) uint8 and maps (steps, words, h, w).

    `thing` and `place` (steps,): attention to the word at the thing, relative to elsewhere.
    """

    words: Sequence[str]
    predictions: Tensor
    maps: Tensor
    thing: Tensor
    place: Tensor
    numbers: Mapping[str, float]


class Walked(NamedTuple):
    """Predictions for the first prompt (steps, 3, H, W) uint8, all maps (steps, B, tokens, h, w), and the verdicts."""

    predictions: Tensor
    maps: Tensor
    seen: list[Seen]


def run(settings: AttentionSettings, watch: Watch) -> Looked:
    """Draw the prompts, record the attention to each word, and locate each thing with the judge."""
    words = embedded.read(settings.prompt)
    singles = [f"{_one(thing)} {place}" for thing, place in SINGLES]
    pairs = [f"{_one(first)} {relation} {_one(other)}" for first, relation, other in PAIRS]
    prompts = [settings.prompt, *singles, *pairs]
    walked = _walk(prompts, settings, watch)
    shown, alone, both = (
        walked.maps[:, part] for part in (0, slice(1, 1 + len(SINGLES)), slice(1 + len(SINGLES), None))
    )
    seen, pairs_seen = walked.seen[1 : 1 + len(SINGLES)], walked.seen[1 + len(SINGLES) :]
    ratios = [
        torch.stack([contrast(alone[:, k, _at(singles[k], word)], found[0]) for word in (thing, place.split()[-1])])
        for k, (thing, place) in enumerate(SINGLES)
        if (found := _find(seen[k], thing))
    ]
    if not ratios:
        raise LabError("the model drew none of the things; try another seed")
    thing, place = torch.stack(ratios).mean(0)
    own = [
        own
        for k, (first, _, other) in enumerate(PAIRS)
        for own in _own(both[:, k], pairs[k], pairs_seen[k], first, other)
    ]
    numbers = {
        "thing_word_at_the_thing_over_elsewhere": float(thing.mean()),
        "place_word_at_the_thing_over_elsewhere": float(place.mean()),
        "thing_word_at_the_thing_at_the_first_step": float(thing[0]),
        "share_of_words_in_pairs_most_at_their_thing": sum(own) / max(1, len(own)),
        "things_alone_found": float(len(ratios)),
        "things_in_pairs_found": float(len(own)),
    }
    return Looked(
        words=words, predictions=walked.predictions, maps=shown[:, 1 : 1 + len(words)], thing=thing, place=place,
        numbers=numbers,
    )  # fmt: skip


def _one(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def _at(prompt: str, word: str) -> int:
    """The token of the last occurrence of a word in a prompt; the first token is the start."""
    words = embedded.read(prompt)
    return len(words) - words[::-1].index(word)


def _walk(prompts: Sequence[str], settings: AttentionSettings, watch: Watch) -> Walked:
    """Draw the prompts from consecutive seeds, recording every step."""
    cond, maps, predictions = embedded.words(prompts), list[Tensor](), list[Tensor]()
    run = embedded.start([1000 * settings.seed + k for k in range(len(prompts))])
    levels = embedded.levels(settings.steps)
    for step in watch(embedded.walk(listening(cond, maps), run, levels), "walking", settings.steps + 1):
        predictions.append(embedded.bytes_of(embedded.images(step.x0[:1])))
    found = embedded.look(embedded.bytes_of(embedded.images(step.x)))
    return Walked(torch.cat(predictions[: len(maps)]), torch.stack(maps), found)


def listening(cond: Cond, maps: list[Tensor]) -> Denoise:
    """The guided model, which appends the attention to each token to `maps` in every call: (B, tokens, h, w).

    The attention comes from a second pass under the condition alone, so that the picture stays the pipeline's.
    """
    denoiser, denoise = embedded.pipeline().stage.denoiser, embedded.guided(cond)
    if not isinstance(denoiser, Preconditioned) or not isinstance(denoiser.net, Dit) or cond.mask is None:
        raise LabError("this experiment needs a transformer that attends to words")
    attended: list[Attended] = []
    watched = Preconditioned(probed(denoiser.net, attended.append), denoiser.prediction, denoiser.clock)
    tokens, patch = cond.mask.shape[1], denoiser.net.config.patch_size

    def looked(x: Tensor, at: Level) -> Tensor:
        attended.clear()
        watched(x, at, cond)
        weights = torch.stack([one.weights[..., :tokens].mean(1) for one in attended]).mean(0)  # (B, patches, tokens)
        maps.append(weights.mT.reshape(len(x), tokens, x.shape[-2] // patch, -1).cpu())
        return denoise(x, at)

    return looked


def _find(seen: Seen, thing: str) -> list[Found]:
    """All finds of that thing in a picture."""
    return [one for one in seen.found if one.thing == thing]


def inside(found: Found, height: int, width: int) -> Tensor:
    """Whether the centre of each patch (height, width) of a picture is in the box around a thing."""
    size_y, size_x = _size() / height, _size() / width
    y, x = (torch.arange(height) + 0.5) * size_y, (torch.arange(width) + 0.5) * size_x
    near: Tensor = ((y - found.y).abs() <= HALF)[:, None] & ((x - found.x).abs() <= HALF)
    return near


def _size() -> int:
    return embedded.pipeline().stage.spec.defaults.width


def contrast(maps: Tensor, found: Found) -> Tensor:
    """The attention of maps (steps, h, w) in the thing's box relative to outside it: (steps,)."""
    near = inside(found, *maps.shape[-2:])
    return maps[:, near].mean(1) / maps[:, ~near].mean(1)


def _own(maps: Tensor, prompt: str, seen: Seen, first: str, other: str) -> Iterator[bool]:
    """Whether the word of each of two found things gets more attention at its thing than at the other."""
    places = [_find(seen, first), _find(seen, other)]
    if not all(places):
        return
    boxes = [inside(found[0], *maps.shape[-2:]) for found in places]
    for k, thing in enumerate((first, other)):
        shares = maps[:, _at(prompt, thing)].mean(0)
        yield bool(shares[boxes[k]].mean() > shares[boxes[1 - k]].mean())


def lit(pictures: Tensor, maps: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) uint8, dimmed by a map (B, h, w): bright at its maximum, dark at 0."""
    wide = interpolate(maps[:, None], size=pictures.shape[-2:], mode="bilinear", align_corners=False)
    share = wide / wide.amax((2, 3), keepdim=True)
    return (pictures * (DARK + (1 - DARK) * share)).round().to(torch.uint8)


def _rows(result: Looked, steps: Sequence[int]) -> Tensor:
    """For each step the prediction, plain and dimmed by the map of every word: (steps, 1 + words, 3, H, W)."""
    rows = []
    for step in steps:
        picture = result.predictions[step]
        words = lit(picture.expand(len(result.maps[step]), *picture.shape), result.maps[step])
        rows.append(torch.cat([picture[None], words])[: 1 + WORDS])
    return torch.stack(rows)


def _columns(result: Looked) -> list[str]:
    """The captions above the pictures of `_rows`."""
    return ["prediction", *result.words][: 1 + WORDS]


def _show(axes: "Axes", result: Looked, steps: Sequence[int], names: Sequence[str] = ()) -> "AxesImage":
    """Draw the rows of steps; the longest word fits above its picture."""
    columns = _columns(result)
    axes.tick_params(labelsize=min(9.0, 1000 / (len(columns) * max(map(len, columns)))))
    return panel.show(axes, _rows(result, steps), columns, names)


def draw(result: Looked) -> "Figure":
    """Draw the prediction dimmed by each word at some steps, and the attention to words at the thing."""
    last = len(result.maps) - 1
    moments = list(dict.fromkeys(percent * last // 100 for percent in MOMENTS))  # a short walk has fewer
    figure, axes = style.mosaic([["words"], ["over time"]], height=6.2, heights=(3.4, 2.2))
    _show(axes["words"], result, moments, [f"step {k}" for k in moments])
    below = axes["over time"]
    for ratios, colour, name in ((result.thing, style.LEARNED, "thing"), (result.place, style.EXACT, "place")):
        below.plot(ratios.tolist(), "o-", markersize=3.5, color=colour, label=f"the word of the {name}", clip_on=False)
    below.axhline(1, color=style.DATA, linewidth=1.2, linestyle="--", label="as much as elsewhere")
    below.set(xlabel="step", ylabel="times as much", ylim=(0, None), xlim=(0, last))
    below.set_title(f"attention at the thing, mean of {result.numbers['things_alone_found']:.0f} prompts")
    style.legend(below, "center right")
    return figure


def animate(result: Looked) -> Animation:
    """The prediction dimmed by every word, step by step."""

    def frames() -> Iterator[Image.Image]:
        figure, (axes,) = style.figure(width=8.0, height=8.0 / len(_columns(result)) + 0.7)
        shown = _show(axes, result, [0])

        def update(step: int) -> None:
            shown.set_data(panel.mosaic(_rows(result, [step])).numpy())
            axes.set_xlabel(f"step {step} of {len(result.maps)}")

        yield from style.frames(figure, update, range(len(result.maps)), dpi=100)

    return Animation(frames(), per_second=5)


attention = Experiment(
    name="attention",
    claim="A thing's word is attended to where the thing appears, from the first step on; the place's word around it.",
    criteria=(
        Criterion("thing_word_at_the_thing_over_elsewhere", ">=", 3.0),
        Criterion("thing_word_at_the_thing_at_the_first_step", ">=", 2.0),
        Criterion("place_word_at_the_thing_over_elsewhere", "<=", 1.0),
        Criterion("share_of_words_in_pairs_most_at_their_thing", ">=", 0.9),
    ),
    settings=AttentionSettings,
    run=run,
    draw=draw,
    animate=animate,
)
