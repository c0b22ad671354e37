"""The vector of a hat: a picture with a hat minus the same picture without it points at the word.

CLIP has two encoders. One makes a vector of a picture, the other of a text, and they were trained until a picture and
its caption point the same way. In the video about AI pictures someone takes a photo of himself with a hat and one
without, subtracts the vectors, and asks which word points most like the difference,

    d = picture(with the hat) - picture(without),        cosine(d, text(word)) for every word.

The answer there is hat, then cap, then helmet: the space can do arithmetic with meaning.

Here the same is done with all the words that the embedded CLIP knows, about two hundred, each alone as a text. The
pictures are rendered scenes, so that only the hat differs. A photo of one person contains a thousand other things; a
drawing of one man contains almost nothing, and a difference of two drawings is full of what CLIP learned about just
this man. So everybody who can wear a hat wears it, a man, a woman, a robot, a dozen animals, each in several places,
and the differences are averaged. The man alone is among the numbers: the bare word does worse there, unless the same
subtraction is made among the texts, "a man wearing a hat" minus "a man".

Two more differences, for a cap and a helmet, are the control: each of the three must point at its own word more than at
the other two. In the video the three words come together; here they are far apart, since this CLIP was trained to
distinguish them and has read nothing else about them. What comes near instead is what looks alike to a small network:
the cap in these drawings is blue like their sofa, the helmet red like their guitar.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from scorefield.data.layout import Item
from scorefield.data.phrases import PLACES
from scorefield.data.places import VARIANTS
from scorefield.data.scenes import Scene
from scorefield.data.things import HATTED
from scorefield.evals.adherence import renders
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, Settings, Watch
from scorefield.lab.pictures import embedded, measure, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORN = ("hat", "cap", "helmet")
SHOWN = ("man", "woman", "dog", "cat", "owl", "penguin", "robot", "lion")
TOP = 8  # words in the figure


@dataclass(frozen=True, slots=True, kw_only=True)
class HatSettings(Settings):
    """The number of places for each wearer."""

    spots: Annotated[int, Field(ge=1, le=100)] = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The cosine of each difference (hat, cap, helmet) with each word, and pictures (2, wearers, 3, H, W)."""

    words: list[str]
    cosines: Tensor  # (3, words)
    pictures: Tensor  # without and with the hat
    numbers: Mapping[str, float]


def run(settings: HatSettings, watch: Watch) -> Compared:
    """Dress everybody, subtract, compare with every word."""
    words = embedded.conditioner().tokenizer.spelt()
    people = wearers()
    texts = embedded.text_vectors(words)
    spots = _spots(settings)
    of_all: dict[str, list[Tensor]] = {worn: [] for worn in WORN}
    for thing in watch(people, "dressing", len(people)):
        bare = embedded.picture_vectors(_dressed(spots, thing, None))
        for worn, found in of_all.items():
            found.append(difference(embedded.picture_vectors(_dressed(spots, thing, worn)), bare))
    cosines = torch.stack([normalize(torch.stack(found).mean(0), dim=0) @ texts.T for found in of_all.values()])
    man = of_all["hat"][people.index("man")]
    one, *phrases = embedded.text_vectors(["a man", *(f"a man wearing a {word}" for word in words)])
    same_way = normalize(torch.stack(phrases) - one, dim=-1) @ man
    among = cosines[:, [words.index(worn) for worn in WORN]]
    numbers = {
        "rank_of_hat": rank(cosines[0], words.index("hat")),
        "of_hat_cap_helmet_named_rightly": float((among.argmax(1) == torch.arange(len(WORN))).sum()),
        "cosine_of_hat": float(among[0, 0]),
        "rank_of_cap_for_the_cap": rank(cosines[1], words.index("cap")),
        "rank_of_helmet_for_the_helmet": rank(cosines[2], words.index("helmet")),
        "rank_of_hat_on_the_man_alone": rank(texts @ man, words.index("hat")),
        "rank_of_hat_on_the_man_alone_among_phrases": rank(same_way, words.index("hat")),
        "words": float(len(words)),
    }
    shown = torch.stack([torch.cat([_dressed(spots[:1], thing, worn) for thing in SHOWN]) for worn in (None, "hat")])
    return Compared(words=words, cosines=cosines, pictures=shown, numbers=numbers)


def wearers() -> list[str]:
    """Everybody who can wear a hat and whom the model knows."""
    return sorted(HATTED & set(embedded.known("things")))


def difference(worn: Tensor, bare: Tensor) -> Tensor:
    """The direction (E) from pictures (B, E) without the hat to the same pictures with it."""
    return normalize((worn - bare).mean(0), dim=0)


def rank(cosines: Tensor, index: int) -> float:
    """The rank of one of the cosines (N): 1 for the largest."""
    return float((cosines > cosines[index]).sum() + 1)


def _spots(settings: HatSettings) -> list[Scene]:
    """Places with room for a thing near the middle; the first is plain, for the figure."""
    generator = torch.Generator().manual_seed(settings.seed)

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    places = [place for place, phrases in PLACES.items() if phrases[0] in embedded.known("places")]
    spots = []
    for k in range(settings.spots):
        place = "grey" if k == 0 else places[between(0, len(places) - 1)]
        item = Item(thing="man", x=64 if k == 0 else between(48, 80), y=between(60, 76), size=between(56, 64))
        spots.append(replace(measure.single("man", place), variant=between(0, VARIANTS - 1), items=(item,)))
    return spots


def _dressed(spots: list[Scene], thing: str, worn: str | None) -> Tensor:
    """Pictures (spots, 3, H, W) of a thing with or without headgear."""
    return renders([replace(one, items=(replace(one.items[0], thing=thing, worn=worn),)) for one in spots])


def draw(result: Compared) -> "Figure":
    """Draw some of the pictures, and the words nearest to each of the three differences."""
    figure, axes = style.mosaic([["people"] * len(WORN), list(WORN)], width=8.0, height=5.6, heights=(1.0, 1.12))
    panel.show(axes["people"], result.pictures, SHOWN, ("without", "with a hat"))
    for worn, cosines in zip(WORN, result.cosines, strict=True):
        one = axes[worn]
        best = cosines.argsort(descending=True)[:TOP].tolist()
        names = [result.words[k] for k in best]
        colours = [style.LEARNED if name == worn else style.RANDOM for name in names]
        one.barh(range(TOP), cosines[best].tolist(), color=colours, height=0.72)
        one.set_yticks(range(TOP), names)
        one.invert_yaxis()
        one.grid(visible=False, axis="y")
        one.set(title=f"what a {worn} adds", xlabel="cosine with the word", xlim=(0, 1), xticks=(0, 0.5, 1))
    return figure


hat = Experiment(
    name="hat",
    claim="What a hat adds to a picture points, in CLIP's space, at the word hat.",
    criteria=(
        Criterion("rank_of_hat", "<=", 3),
        Criterion("of_hat_cap_helmet_named_rightly", ">=", 3),
    ),
    settings=HatSettings,
    run=run,
    draw=draw,
)
