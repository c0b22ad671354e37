"""Make it blue: any wish that has a gradient can steer the walk.

The lesson that takes Stable Diffusion apart asks for a campfire, and for a picture that is as blue as possible. Nobody
trained a network for that. At some steps of the walk the predicted picture is decoded, a loss measures how far its blue
channel is from 0.9, and the prediction is pulled down the gradient. Here

    loss(x0) = mean over pixels of (blue(decode(x0)) - 0.9)^2.

There are two ways to take that gradient. The cheap one stops at the prediction and never goes through the generator,

    x0 - scale r^2 grad of loss at x0,        r^2 = sigma^2 / (alpha^2 + sigma^2).

The exact one computes how the noisy state should change so that the prediction D(x) becomes bluer; its gradient runs
back through the whole generator,

    x0 - scale (sigma^2 / alpha) grad of loss(D(x)) at x.

That costs memory, since all activations of the generator must be kept for the backward pass. Gradient checkpointing
keeps none and computes them again: less memory, more time, the same gradient. They are compared on the same state: the
CPU time of one step, the best of three, and the peak memory of all tensors.

The result is the difference between painting and choosing. Pulled at every fifth step, the cheap path gets all the blue
it is asked for, partly by bleaching the fire, as if seen through a filter. The exact path moves among the pictures that
the model believes in. It leaves the fire as it is and takes it to a place that is blue or white; or it goes too far, as
with the last seed of the figure, and nothing of the fire is left.

The exact path was harder to control. The gradient through guidance, five times the difference of two calls of the
network, found noise that breaks the picture long before it found blue, so only the conditional call is pulled. At the
first steps sigma^2 / alpha is huge, so its scale is multiplied by alpha, which leaves sigma^2. And the place is decided
in the first few steps: pulled at every fifth, the exact path comes too late to change it, so it is pulled at every
second one.

The last column is another wish by the same function, the cheap path with a loss that draws every pixel to the nearest
of four colours. A judge, trained on rendered scenes, decides whether there is still a campfire.
"""

import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from scorefield.core.cond import Cond
from scorefield.core.denoiser import Denoise, bind
from scorefield.core.level import Level
from scorefield.guide.cfg import at_levels, cfg
from scorefield.guide.gradient import Loss, loss_guided
from scorefield.lab import style
from scorefield.lab.experiment import Criterion, Experiment, Settings, Watch
from scorefield.lab.pictures import embedded, measure, panel
from scorefield.lab.pictures.memory import Peak

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROMPT, THING = "a campfire", "campfire"
BLUE = 0.9  # target blue, of 1
PALETTE = ((22, 26, 78), (124, 40, 120), (236, 92, 88), (252, 204, 128))  # a dusk: night blue, purple, coral, sand
PLAIN, CHEAP, EXACT, CHECKPOINTED, DUSK = "no wish", "cheap path", "exact path", "with checkpointing", "palette"
WAYS = (PLAIN, CHEAP, EXACT, CHECKPOINTED)
SHOWN = 3  # seeds in the figure
REPEATS = 3  # repetitions of a measured step; the fastest counts


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueSettings(Settings):
    """Seeds and steps, and the strength and interval of each path."""

    pictures: Annotated[int, Field(ge=1, le=32)] = 4
    steps: Annotated[int, Field(ge=5, le=1000)] = 25
    cheap_scale: Annotated[float, Field(ge=0)] = 1e5
    cheap_every: Annotated[int, Field(ge=1)] = 5
    exact_scale: Annotated[float, Field(ge=0)] = 4e3
    exact_every: Annotated[int, Field(ge=1)] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wished:
    """Pictures (4 ways, seeds, 3, H, W), their mean blue, and the cost of one guided step in each of three ways."""

    pictures: Tensor
    blue: Tensor  # (ways, seeds)
    milliseconds: Mapping[str, float]
    megabytes: Mapping[str, float]
    numbers: Mapping[str, float]


def blueness(pixels: Tensor) -> Tensor:
    """The distance (B,) of the blue of pixels (B, 3, H, W) in [-1, 1] to the target."""
    return ((pixels[:, 2] + 1) / 2 - BLUE).square().mean((1, 2))


def off_palette(pixels: Tensor) -> Tensor:
    """The mean squared distance (B,) of pixels (B, 3, H, W) in [-1, 1] to the nearest colour of the palette."""
    colours = torch.tensor(PALETTE, dtype=pixels.dtype, device=pixels.device) / 255
    apart = (pixels[:, None] + 1) / 2 - colours[None, :, :, None, None]
    return apart.square().sum(2).amin(1).mean((1, 2))


def run(settings: BlueSettings, watch: Watch) -> Wished:
    """Draw without guidance by a loss, with it by both paths, and with a palette; then measure a step of each path."""
    seeds, levels = [1000 * settings.seed + k for k in range(settings.pictures)], embedded.levels(settings.steps)
    cond = embedded.repeated(embedded.words([PROMPT]), len(seeds))
    plain = embedded.guided(cond)
    seldom, often = levels[: -1 : settings.cheap_every], levels[1 : -1 : settings.exact_every]
    by_cheap = cheap(cond, _of_latents(blueness), settings.cheap_scale)
    by_exact = exact(cond, _of_latents(blueness), settings.exact_scale)
    to_palette = cheap(cond, _of_latents(off_palette), settings.cheap_scale)
    ways = (plain, at_levels(by_cheap, plain, seldom), at_levels(by_exact, plain, often),
            at_levels(to_palette, plain, seldom))  # fmt: skip
    drawn = [
        embedded.bytes_of(embedded.images(embedded.end(embedded.walk(way, embedded.start(seeds), levels))))
        for way in watch(ways, "drawing", len(ways))
    ]
    pictures = torch.stack(drawn)
    blue = pictures[:, :, 2].float().mean((2, 3)) / 255
    still = [sum(measure.shows(one, THING) for one in embedded.look(some)) / len(seeds) for some in drawn]
    palette = [float(off_palette(embedded.pixels(drawn[k])).mean()) for k in (0, 3)]
    milliseconds, megabytes, apart = _costs(seeds[0], levels, watch)
    without, cheaply, exactly, _ = blue.mean(1).tolist()
    numbers = {
        "blue_without": without,
        "blue_by_the_cheap_path": cheaply,
        "blue_by_the_exact_path": exactly,
        "cheap_path_off_the_wish": abs(cheaply - BLUE),
        "exact_path_off_the_wish": abs(exactly - BLUE),
        "no_wish_off_the_wish": abs(without - BLUE),
        "share_still_a_campfire_by_the_cheap_path": still[1],
        "share_still_a_campfire_by_the_exact_path": still[2],
        "distance_to_the_palette_over_that_without": palette[1] / palette[0],
        "time_exact_over_cheap": milliseconds[EXACT] / milliseconds[CHEAP],
        "memory_exact_over_cheap": megabytes[EXACT] / megabytes[CHEAP],
        "memory_checkpointed_over_exact": megabytes[CHECKPOINTED] / megabytes[EXACT],
        "difference_of_checkpointed_and_exact": apart,
        **{f"milliseconds_{name.replace(' ', '_')}": value for name, value in milliseconds.items()},
        **{f"megabytes_{name.replace(' ', '_')}": value for name, value in megabytes.items()},
    }
    return Wished(
        pictures=pictures, blue=blue, milliseconds=milliseconds, megabytes=megabytes, numbers=numbers
    )  # fmt: skip


def cheap(cond: Cond, loss: Loss, scale: float) -> Denoise:
    """The guided prediction, moved down the gradient of the loss."""
    return loss_guided(embedded.guided(cond), loss, scale)


def exact(cond: Cond, loss: Loss, scale: float, *, checkpointed: bool = False) -> Denoise:
    """Guidance whose conditional prediction is moved down the gradient through the network, scaled by alpha."""
    model = embedded.pipeline().stage
    none = embedded.repeated(embedded.words([""]), len(next(iter(cond.tensors().values()))))
    plain = bind(model.denoiser, cond)
    if checkpointed:  # the whole network at once; nets.shared_copy.recomputing does it block by block
        plain = functools.partial(checkpoint, plain, use_reentrant=False, preserve_rng_state=False)
    pulled = loss_guided(plain, loss, lambda at: scale * float(at.alpha), exact=True)
    return cfg(pulled, bind(model.denoiser, none), model.spec.defaults.cfg_scale)


def _of_latents(loss: Loss) -> Loss:
    """A loss on pixels as a loss on their latents."""
    return lambda x0: loss(embedded.codec().decode(x0))


def _costs(seed: int, levels: Sequence[Level], watch: Watch) -> tuple[dict[str, float], dict[str, float], float]:
    """CPU milliseconds and megabytes of one step of each way, on the state of one picture half-way through its walk,
    and how far the checkpointed step is from the exact one.
    """
    cond, loss, half = embedded.words([PROMPT]), _of_latents(blueness), len(levels) // 2
    plain = embedded.guided(cond)
    at, x = next((step.at, step.x) for step in embedded.walk(plain, embedded.start([seed]), levels) if step.i == half)
    ways: dict[str, Denoise] = {
        PLAIN: plain,
        CHEAP: cheap(cond, loss, 1.0),
        EXACT: exact(cond, loss, 1.0),
        CHECKPOINTED: exact(cond, loss, 1.0, checkpointed=True),
    }
    seconds, megabytes, found = {}, {}, {}
    with torch.no_grad():
        for name, way in watch(ways.items(), "measuring", len(ways)):
            with Peak() as peak:
                found[name] = way(x, at)
            megabytes[name] = peak.bytes / 1e6
            seconds[name] = min(_seconds(way, x, at) for _ in range(REPEATS))
    apart = float((found[EXACT] - found[CHECKPOINTED]).abs().max())
    return {name: 1000 * value for name, value in seconds.items()}, megabytes, apart


def _seconds(way: Denoise, x: Tensor, at: Level) -> float:
    """The CPU time of one call, hardly affected by other programs on the machine."""
    start = time.process_time()
    way(x, at)
    return time.process_time() - start


def draw(result: Wished) -> "Figure":
    """Draw the same seeds with every loss, the blue of each, and the cost of a step of each path."""
    shown = result.pictures[:, :SHOWN].transpose(0, 1)
    heights = (1.85 * len(shown), 2.2)  # inches
    pattern = [["pictures"] * 3, ["blue", "time", "memory"]]
    figure, axes = style.mosaic(pattern, width=8.0, height=sum(heights) + 0.8, heights=heights)
    columns = (PLAIN, f"blue, {CHEAP}", f"blue, {EXACT}", f"{DUSK}, {CHEAP}")
    panel.show(axes["pictures"], shown, columns, title=f"\u201c{PROMPT}\u201d")
    colours = dict(zip(WAYS, (style.RANDOM, style.LEARNED, style.EXACT, style.CONDITIONAL), strict=True))
    blue, names = axes["blue"], (PLAIN, CHEAP, EXACT)
    for k, name in enumerate(names):
        blue.scatter([k] * result.blue.shape[1], result.blue[k], s=14, color=colours[name], alpha=0.6)
        blue.plot([k - 0.3, k + 0.3], [float(result.blue[k].mean())] * 2, color=colours[name])
    blue.axhline(BLUE, color=style.DATA, linewidth=0.9, linestyle=":")
    _name(blue, names)
    blue.set(title="mean blue, of 1", xlim=(-0.6, 2.6), ylim=(min(0.4, float(result.blue[:3].min()) - 0.05), 1))
    _bars(axes["time"], result.milliseconds, "ms of CPU a step", list(colours.values()))
    _bars(axes["memory"], result.megabytes, "MB held at most", list(colours.values()))
    return figure


def _name(axes: "Axes", ways: Iterable[str]) -> None:
    """Label the places 0, 1 and so on, in two lines each that fit next to each other."""
    names = [name.removeprefix("with ").replace("check", "check-\n").replace(" ", "\n") for name in ways]
    axes.set_xticks(range(len(names)), names, fontsize=9)


def _bars(axes: "Axes", values: Mapping[str, float], title: str, colours: list[str]) -> None:
    axes.bar(range(len(values)), list(values.values()), color=colours, width=0.7)
    for k, value in enumerate(values.values()):
        axes.text(k, value, f"{value:.0f}", ha="center", va="bottom", fontsize=9)
    _name(axes, values)
    axes.set(title=title, ylim=(0, 1.15 * max(values.values())))
    axes.grid(visible=False, axis="x")


blue = Experiment(
    name="blue",
    claim="A loss on the decoded prediction makes the picture blue; its gradient through the network costs time and "
    "memory, and checkpointing saves the memory.",
    criteria=(
        Criterion("cheap_path_off_the_wish", "<=", 0.1),
        Criterion("exact_path_off_the_wish", "<=", 0.1),
        Criterion("no_wish_off_the_wish", ">=", 0.1),
        Criterion("share_still_a_campfire_by_the_cheap_path", ">=", 0.5),
        Criterion("share_still_a_campfire_by_the_exact_path", ">=", 0.5),
        Criterion("distance_to_the_palette_over_that_without", "<=", 0.5),
        Criterion("time_exact_over_cheap", ">=", 1.2),
        Criterion("memory_exact_over_cheap", ">=", 1.2),
        Criterion("memory_checkpointed_over_exact", "<=", 0.9),
        Criterion("difference_of_checkpointed_and_exact", "<=", 1e-5),
    ),
    settings=BlueSettings,
    run=run,
    draw=draw,
)
