"""How words become vectors, step by step.

A generator cannot read. Its condition is a table of numbers, and this is all that happens between a prompt and it:

    1. The prompt is cut into tokens, here one per word, between a start and an end token, and padded to 32. A token is
       a number: a row of a table. Decoded back, the numbers are the prompt again.
    2. Each token is replaced by its row of a learned table of 212 x 256 (49,408 x 768 in Stable Diffusion 1).
    3. A second learned table has a row for each position; it is added, so that order can matter.
    4. A transformer lets the tokens look at each other, three blocks of attention and a feed-forward layer.
    5. A last layer norm gives the final hidden states, one vector per token, 32 x 256: the condition.

The figure draws every stage as an image, one row per token. Up to the sum each row knows only its own word. The first
check is that nothing is hidden: the stages are computed here by hand, with plain sums and products, and compared with
the output of the program's conditioner.

The second is where a word has an effect. One word is replaced by another, and for every stage and token the change is
measured relative to the vector's length,

    change = |after - before| / |before|.

This text encoder is causal, like CLIP's: a token sees itself and what comes before it, never what follows. So nothing
before the changed word may change at all, and everything after it does; that is why the end token, the only one that
sees the whole prompt, represents it where CLIP needs one vector. The generator does not stop at that: it begins with
two text blocks that read both ways, and there the change reaches the first token too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scorefield.core.cond import Cond
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, LabError, Settings, Watch
from scorefield.lab.pictures import embedded
from scorefield.nets.clip import Block, TextTransformer
from scorefield.nets.dit import Dit
from scorefield.prompt import surgery

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS, POSITIONS, SUM, LAST = "token vectors", "position vectors", "their sum", "final hidden states"
REFINED = "the generator's own text"
PADDING = 2  # padding tokens in the figure
LINE = 84  # letters of 9 points that fit in a line of the figure


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensSettings(Settings):
    """A prompt, one of its words, and its replacement; nothing is random."""

    prompt: str = "a puppy wearing a hat in the snow"
    word: str = "puppy"
    other: str = "skunk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The tokens with their ids, each stage (L, width) by name, and the change of each real token at each stage."""

    tokens: list[str]
    ids: list[int]
    stages: Mapping[str, Tensor]
    changes: Mapping[str, Tensor]
    table: tuple[int, int]
    words: tuple[str, str]  # the changed one, and the other
    numbers: Mapping[str, float]


@torch.no_grad()
def run(settings: TokensSettings, watch: Watch) -> Read:
    """Compute the stages of both prompts by hand; compare them with the conditioner, and with each other."""
    reader, written = embedded.conditioner(), embedded.read(settings.prompt)
    try:
        opened = surgery.opened(reader, [settings.prompt])
        at = surgery.where(reader, opened, settings.word)[0]
        ids, mask = opened.ids[0], opened.mask[0]
        changed = ids.masked_fill(at, reader.tokenizer.word(settings.other)[0])
        theirs = _tokens(reader([settings.prompt]))
    except ValueError as error:
        raise LabError(str(error)) from None
    here, there = (stages(reader.clip.text, one, mask) for one in watch((ids, changed), "reading", 2))
    real, first = int(mask.sum()), int(at.nonzero()[0])
    moved = {name: relative(here[name], there[name])[:real] for name in here if name != POSITIONS}
    moved[REFINED] = relative(_refined(here[LAST], mask), _refined(there[LAST], mask))[:real]
    words = {index: word for word, index in reader.tokenizer.vocabulary.items()}
    decoded = [words[index] for index in ids.tolist()]
    causal = torch.stack([one for name, one in moved.items() if name != REFINED])
    numbers = {
        "tokens_decoded_wrongly": float(sum(a != b for a, b in zip_longest(decoded[1 : real - 1], written))),
        "largest_difference_from_the_conditioner": float((here[LAST] - theirs[0].cpu()).abs().max()),
        "largest_change_before_the_word": float(causal[:, :first].max()),
        "smallest_final_change_from_the_word_on": float(moved[LAST][first:].min()),
        "smallest_change_before_it_in_the_generator": float(moved[REFINED][:first].min()),
        "largest_final_state": float(theirs.abs().max()),
        "tokens": float(real),
        "vocabulary": float(len(words)),
        "width": float(theirs.shape[-1]),
    }
    rows, width = reader.clip.text.tokens.weight.shape
    return Read(
        tokens=decoded, ids=ids.tolist(), stages=here, changes=moved, table=(rows, width),
        words=(settings.word, settings.other), numbers=numbers,
    )  # fmt: skip


def stages(encoder: TextTransformer, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Every stage (L, width) from ids (L) to the final states, by hand; `mask` (L) is True for real tokens."""
    rows, positions = encoder.tokens.weight[ids], encoder.positions[: len(ids)]
    found = {ROWS: rows, POSITIONS: positions, SUM: rows + positions}
    before = torch.ones(len(ids), len(ids), dtype=torch.bool, device=ids.device).tril()
    x = found[SUM]
    for k, layer in enumerate(encoder.blocks, 1):
        assert isinstance(layer, Block)
        x = found[f"after block {k}"] = block(x, layer, before & mask)
    found[LAST] = norm(x, encoder.norm)
    return {name: stage.detach().cpu() for name, stage in found.items()}


def block(x: Tensor, layer: Block, allowed: Tensor) -> Tensor:
    """x (L, width) after attention, masked by (L, L), and the feed-forward layer of one block."""
    heads = layer.attention.heads
    q, k, v = layer.attention.qkv(norm(x, layer.norm1)).view(len(x), 3, heads, -1).permute(1, 2, 0, 3)
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~allowed, -math.inf)
    x = x + layer.attention.out((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
    thought: Tensor = x + layer.fc2(layer.activation(layer.fc1(norm(x, layer.norm2))))
    return thought


def norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    """Layer norm of x (L, width): each row to mean 0 and variance 1, then the layer's scale and shift."""
    away = x - x.mean(-1, keepdim=True)
    unit: Tensor = away / (away.square().mean(-1, keepdim=True) + layer.eps).sqrt()
    return unit * layer.weight + layer.bias


def relative(before: Tensor, after: Tensor) -> Tensor:
    """The change of each row (L), relative to its length."""
    moved: Tensor = (after - before).norm(dim=-1) / before.norm(dim=-1)
    return moved


def _tokens(cond: Cond) -> Tensor:
    if cond.tokens is None:
        raise LabError("this experiment needs a model conditioned on tokens")
    return cond.tokens


def _refined(states: Tensor, mask: Tensor) -> Tensor:
    """The text (L, width) as input of the generator's blocks."""
    net = embedded.pipeline().stage.denoiser.net
    if not isinstance(net, Dit):
        raise LabError(f"this experiment supports only the embedded generator, not {type(net).__name__}")
    text, _ = net.refine(states.to(mask.device)[None], mask[None])
    return text[0].cpu()


def draw(result: Read) -> "Figure":
    """Draw the tokens, four stages as images with their shapes, and the change by token."""
    shown = int(result.numbers["tokens"]) + PADDING
    labels = [token.strip("<>") for token in result.tokens[:shown]]
    heights = (0.45, 0.12 * len(labels), 0.12 * len(labels), 1.75)  # inches, a row of 7 points for each token
    pattern = [["tokens", "tokens"], [ROWS, POSITIONS], [SUM, LAST], ["heard", "heard"]]
    figure, axes = style.mosaic(pattern, width=8.0, height=sum(heights) + 3.0, heights=heights)
    _boxes(axes["tokens"], labels, result.ids[:shown])
    length, (rows, width) = len(result.tokens), result.table
    shapes = {
        ROWS: f"rows of the {rows} x {width} table",
        POSITIONS: f"a table of {length} x {width}",
        SUM: f"{length} x {width}",
        LAST: f"{length} x {width}",
    }
    scale = 3 * float(result.stages[SUM][:shown].std())
    for name, shape in shapes.items():
        values = result.stages[name][:shown]
        limit = 3 * float(values.std()) if name == LAST else scale
        one = axes[name]
        one.imshow(values.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
        one.set_title(f"{name}, {shape}", fontsize=10)
        one.set_yticks(range(len(labels)), labels, fontsize=7)
        one.set_xticks([])
        one.tick_params(length=0)
        one.grid(visible=False)
    _heard(axes["heard"], result, labels)
    return figure


def _boxes(axes: "Axes", labels: list[str], ids: list[int]) -> None:
    """Draw the tokens in a row, each as wide as its letters, with their ids below."""
    room = [len(label) + 2.5 for label in labels]
    total, size = sum(room), 9 * min(1.0, LINE / sum(room))
    axes.set(xlim=(0, total), ylim=(-1.1, 0.5))
    axes.set_title("tokens, and the numbers that they are", fontsize=10)
    axes.axis("off")
    for label, index, wide, end in zip(labels, ids, room, accumulate(room), strict=True):
        middle = end - wide / 2
        axes.text(
            middle, 0, label, ha="center", va="center", fontsize=size,
            bbox={"boxstyle": "round", "fc": "#E8F1F8", "ec": style.LEARNED},
        )  # fmt: skip
        axes.text(middle, -0.8, str(index), ha="center", va="center", fontsize=size, color=style.DATA)


def _heard(axes: "Axes", result: Read, labels: list[str]) -> None:
    """Draw the change of every token at every stage, in percent."""
    change = torch.stack(list(result.changes.values()))
    axes.imshow(change.clamp(max=1.0).sqrt().numpy(), cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
    for i, row in enumerate(change.tolist()):
        for j, value in enumerate(row):
            percent = "0" if value < 5e-7 else f"{100 * value:.1f}" if value < 0.1 else f"{100 * value:.0f}"
            colour = "white" if value > 0.6 else style.DATA
            axes.text(j, i, percent, ha="center", va="center", fontsize=min(8.0, 150 / len(row)), color=colour)
    below = labels[: change.shape[1]]
    crowded = len(below) * max(map(len, below)) > LINE
    axes.set_xticks(range(len(below)), below, fontsize=9, rotation=90 if crowded else 0)
    axes.set_yticks(range(len(change)), list(result.changes), fontsize=9)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    before, after = result.words
    axes.set_title(
        f"\u201c{before}\u201d changed for \u201c{after}\u201d: change in % of the vector's length", fontsize=10
    )


tokens = Experiment(
    name="tokens",
    claim="A prompt becomes vectors in five plain stages, and a word affects only what follows it.",
    criteria=(
        Criterion("tokens_decoded_wrongly", "<=", 0),
        Criterion("largest_difference_from_the_conditioner", "<=", 1e-5),  # float32 states of size 1, 1e-7 an operation
        Criterion("largest_change_before_the_word", "<=", 1e-6),
        Criterion("smallest_final_change_from_the_word_on", ">=", 0.01),
        Criterion("smallest_change_before_it_in_the_generator", ">=", 0.001),
    ),
    settings=TokensSettings,
    run=run,
    draw=draw,
)
