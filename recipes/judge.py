"""The judge of adherence: a detector of what rendered scenes show. `scorefield train judge`."""

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scorefield.data import damage, scenes
from scorefield.data.film_render import behind
from scorefield.data.film_scenes import film
from scorefield.data.layout import Item
from scorefield.data.paint import SIZE
from scorefield.data.places import VARIANTS
from scorefield.data.render import drawn, render
from scorefield.data.scenes import Scene, Split
from scorefield.data.scripts import FRAMES
from scorefield.data.splits import held_out_place
from scorefield.data.sprites import sprite
from scorefield.data.things import COLOURED, HATTED, NAMES, WORN
from scorefield.evals import judge
from scorefield.evals.adherence import ALL_TASKS, judged, shares
from scorefield.evals.checks import CHECKS
from scorefield.evals.judge import LABELS
from scorefield.evals.verdict import faults
from scorefield.nets.detector import Detector
from scorefield.train.batches import Batch, in_order
from scorefield.train.optim import Muon, Wsd, hidden_matrices
from scorefield.train.recipe import Count, Progress, Rate, Recipe, Samples
from scorefield.weights import scorefield_file

MOST = 5  # things in a picture
TOUCHING = ("on", "riding", "holding", "behind", "front")
THRESHOLDS = tuple(percent / 100 for percent in range(15, 75, 5))
WHOLE, PARTLY = 0.14, 0.3  # shares of pictures: damaged all over, and with some damaged things
NONE = -1  # no thing, or an attribute without a target


def item(rng: np.random.Generator, name: str, placed: list[Item]) -> Item | None:
    """A thing of any size and look that overlaps another by a third at most; None if there is no room."""
    size = int(rng.integers(7, 24)) * 4
    for _ in range(6):
        x, y = (int(rng.integers(size // 2 - 4, SIZE - size // 2 + 5)) for _ in range(2))
        if all(max(abs(x - one.x), abs(y - one.y)) > 0.36 * (size + one.size) for one in placed):
            colour = str(rng.choice(LABELS.colours)) if name in COLOURED and rng.random() < 0.7 else None
            worn = str(rng.choice(list(WORN))) if name in HATTED and rng.random() < 0.4 else None
            turn = 15 * int(rng.integers(24)) if worn is None and rng.random() < 0.1 else 0
            flip = bool(rng.random() < 0.5)  # in films, things face the way they go
            return Item(thing=name, x=x, y=y, size=size, colour=colour, worn=worn, flip=flip, turn=turn)
    return None


def scattered(rng: np.random.Generator) -> Scene:
    """Up to five things anywhere, so that the judge learns their looks and not the grammar's layouts."""
    place = str(rng.choice(LABELS.places))
    placed: list[Item] = []
    for _ in range(int(rng.integers(0, MOST + 1))):
        again = placed and rng.random() < 0.3
        name = placed[-1].thing if again else NAMES[rng.integers(len(NAMES))]
        one = None if held_out_place(name, place) else item(rng, name, placed)
        if one and not scenes.apart([*placed, one]):
            placed.append(one)
    return Scene(
        task="single", caption="", nouns=(), relation=None, place=place, place_said=False, style=None,
        variant=int(rng.integers(VARIANTS)), items=tuple(placed),
    )  # fmt: skip


def worn_out(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture blurred, compressed, tinted and noisy to random degrees, as a decoder may leave it."""
    image = Image.fromarray(picture)
    kind = rng.random()
    if kind < 0.3:
        side = int(rng.integers(56, 112))
        image = image.resize((side, side), Image.Resampling.BILINEAR).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    elif kind < 0.5:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(25, 80)))
        image = Image.open(file)
    values = np.asarray(image, np.float64)
    if rng.random() < 0.6:
        values = (
            (values - 128) * rng.uniform(0.8, 1.0) + 128 + rng.uniform(-10, 10, 3)
        )  # clips little: white stays apart
    if rng.random() < 0.4:
        values = values + rng.normal(0, rng.uniform(1, 9), values.shape)
    return np.clip(values, 0, 255).astype(np.uint8)


def row(one: Item) -> list[int]:
    """The targets for a thing: centre and size in px, thing, colour if it was changed, headgear if any fits."""
    colour = NONE if one.colour is None else LABELS.colours.index(one.colour)
    worn = LABELS.worn.index(one.worn) if one.thing in HATTED else NONE
    return [one.x, one.y, one.size, LABELS.things.index(one.thing), colour, worn]


def unclear(one: Item) -> list[int]:
    """The targets for a damaged thing: only that something is there."""
    return [one.x, one.y, one.size, LABELS.things.index(judge.UNCLEAR), NONE, NONE]


def touching(index: int) -> Scene:
    """A scene of two things of which one hides a part of the other, without being damaged."""
    drawn = (scenes.scene(index + 10**9 * k, seed=3, task="position") for k in itertools.count())
    return next(one for one in drawn if one.relation in TOUCHING)


class Shown(NamedTuple):
    """A scene, and what is behind its things if that is not its place alone."""

    scene: Scene
    behind: np.ndarray | None = None


def shown(index: int, rng: np.random.Generator) -> Shown:
    """A scene: scattered things, things that touch, a coloured pair, one of the tasks, or a frame of a film."""
    if index % 4 == 0:
        return Shown(scattered(rng))
    if index % 8 == 7:
        task = str(rng.choice(["riding", "holding", ""]))
        one, k = film(index, seed=3, task=task or None), int(rng.integers(FRAMES))  # type: ignore[arg-type]
        return Shown(one.frame(k), behind(one, k))
    if index % 8 in (3, 5):
        return Shown(replace(touching(index), style=None))
    return Shown(replace(scenes.scene(index, seed=3, task="binding" if index % 8 == 1 else None), style=None))


def harmed(one: Scene, back: np.ndarray | None, rng: np.random.Generator) -> tuple[np.ndarray, list[list[int]]]:
    """A picture of the scene before `back` and its targets; about one thing in four is damaged."""
    roll = rng.random()
    inside = [item for item in one.items if 0 <= item.x < SIZE and 0 <= item.y < SIZE]
    if roll < WHOLE:
        ways = damage.IN_PLACE if rng.random() < 0.8 else damage.DISPLACED
        rows = [unclear(item) for item in inside] if ways is damage.IN_PLACE else []
        return ways[rng.integers(len(ways))](render(one, behind=back), rng), rows
    struck = [item for item in one.items if rng.random() < 0.6] if roll < WHOLE + PARTLY else []

    def look(item: Item) -> np.ndarray:
        if item not in struck:
            return drawn(item)
        other = NAMES[(NAMES.index(item.thing) + int(rng.integers(1, len(NAMES)))) % len(NAMES)]
        return damage.broken(drawn(item), sprite(other, item.size), rng)

    return render(one, look, back), [unclear(item) if item in struck else row(item) for item in inside]


def example(index: int) -> tuple[np.ndarray, list[list[int]], int]:
    """Picture `index`, its things and its place."""
    rng = np.random.default_rng([7, index])
    one, back = shown(index, rng)
    picture, rows = harmed(one, back, rng)
    rows += [[0, 0, 1, NONE, NONE, NONE]] * (MOST - len(rows))
    return worn_out(picture, rng) if rng.random() < 0.7 else picture, rows, LABELS.places.index(one.place)


def examples(indices: range) -> Batch:
    """Pictures (B, 3, 128, 128) uint8, things (B, MOST, 6), places (B,)."""
    pictures, things, places = zip(*(example(index) for index in indices), strict=True)
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return {"pictures": stacked, "things": torch.tensor(things), "places": torch.tensor(places)}


class Wanted(NamedTuple):
    """The targets of the maps (B, h, w), for each cell."""

    bump: Tensor  # 1 in the cells that hold a centre, falling off around them
    which: Tensor  # the index of the thing in the picture whose bump is highest here
    offset: Tensor  # (B, 2, h, w) to that thing's centre, in cells


def wanted(things: Tensor, stride: int, h: int, w: int) -> Wanted:
    """The targets of `things` (B, MOST, 6) on a grid of h x w cells of `stride` px."""
    x, y, size, thing = (column[..., None, None] for column in things.unbind(2)[:4])  # each (B, MOST, 1, 1)
    columns, rows = torch.arange(w, device=x.device), torch.arange(h, device=x.device)[:, None]
    near = (x // stride - columns).square() + (y // stride - rows).square()  # to the centre's cell, in cells
    spread = (size / stride / 8).clamp(min=0.6)
    bumps = torch.exp(-near / (2 * spread.square())) * (thing != NONE)
    bump, which = bumps.max(1)
    ways = (x / stride - 0.5 - columns, y / stride - 0.5 - rows)
    offset = torch.cat([way.expand_as(bumps).gather(1, which[:, None]) for way in ways], 1)
    return Wanted(bump, which, offset)


def focal(score: Tensor, bump: Tensor) -> Tensor:
    """Loss of the map of centres (B, h, w), for each centre (Zhou et al. 2019, eq. 1: alpha 2, beta 4)."""
    hit = bump == 1
    there = -F.logsigmoid(score) * torch.sigmoid(-score).square() * hit
    elsewhere = -F.logsigmoid(-score) * torch.sigmoid(score).square() * (1 - bump).pow(4)
    return (there + elsewhere).sum() / hit.sum().clamp(min=1)


def naming(logits: Tensor, labels: Tensor, which: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of a map (B, C, h, w) against its things' `labels` (B, MOST), by weight where there is a label."""
    targets = labels.gather(1, which.flatten(1)).view_as(which)
    weight = weight * (targets != NONE)
    errors = F.cross_entropy(logits.float(), targets, ignore_index=NONE, reduction="none")
    return (errors * weight).sum() / weight.sum().clamp(min=1)


def loss(module: Detector, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The losses of the centres, of the labels at and close to them, and of the place, equally weighted."""
    said = module(batch["pictures"].float() / 127.5 - 1)
    bump, which, offset = wanted(batch["things"], module.stride, *said.centre.shape[1:])
    hit, close = bump == 1, bump * (bump > 0.3)
    thing, colour, worn = batch["things"].unbind(2)[3:]
    misses = (said.offset.float().tanh() - offset).abs().sum(1) * hit
    parts = {
        "centre": focal(said.centre.float(), bump),
        "offset": misses.sum() / hit.sum().clamp(min=1),
        "thing": naming(said.thing, thing, which, close),
        "colour": naming(said.colour, colour, which, close),
        "worn": naming(said.worn, worn, which, close),
        "place": F.cross_entropy(said.place.float(), batch["places"]),
    }
    return torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()}


def sights(module: Detector, split: Split, count: int, seed: int = 0) -> list[tuple[Scene, judge.Seen]]:
    """`count` renders of each task with everything that the judge finds above the lowest threshold."""
    pairs = []
    for task in ALL_TASKS:
        some = [replace(scenes.scene(index, seed, split, task), style=None) for index in range(count)]
        pictures = torch.from_numpy(np.stack([render(one) for one in some])).permute(0, 3, 1, 2)
        pairs += list(zip(some, judge.look(module, pictures, min(THRESHOLDS)), strict=True))
    return pairs


def rights(pairs: Sequence[tuple[Scene, judge.Seen]], threshold: float) -> dict[str, float]:
    """Share of renders judged right in every respect, for each task, and the mean of the shares."""
    found: dict[str, list[bool]] = {task: [] for task in ALL_TASKS}
    for one, seen in pairs:
        sure = seen._replace(found=tuple(thing for thing in seen.found if thing.score >= threshold))
        found[one.task].append(not faults(one, sure))
    shares = {task: sum(each) / len(each) for task, each in found.items()}
    return shares | {"overall": sum(shares.values()) / len(shares)}


def tuned(pairs: Sequence[tuple[Scene, judge.Seen]]) -> float:
    """The threshold that finds most renders right; the lowest of equals, which overlooks the fewest wrong things."""
    shares = {threshold: rights(pairs, threshold)["overall"] for threshold in THRESHOLDS}
    return max(shares, key=lambda threshold: (shares[threshold], -threshold))


def fooled(module: Detector, threshold: float, count: int) -> dict[str, float]:
    """Share of unrecognisable pictures that are judged right, for each kind of damage."""
    look = judge.Judge(module=module, threshold=threshold, labels=LABELS)
    drawers = {name: draw for name, draw in CHECKS.items() if name != "true"}
    return {name: shares(judged(draw, look, count=count))["overall"].rate for name, draw in drawers.items()}


@torch.no_grad()
def begin(module: Detector, earlier: judge.Judge) -> None:
    """Give `module` the weights of an earlier judge: of the last layers only the rows of labels that both know."""
    old, new = earlier.module.state_dict(), module.state_dict()
    for name, value in old.items():
        if not name.startswith(("read.", "place.")):
            new[name].copy_(value)
    names = [(0, 0), (1, 1), (2, 2)]  # rows of `read`, (theirs, ours): first the centre and the offset
    heads = ("things", "colours", "worn")
    theirs, ours = ([0, *np.cumsum([len(getattr(one, head)) for head in heads])] for one in (earlier.labels, LABELS))
    for k, head in enumerate(heads):
        mine = {label: ours[k] + row for row, label in enumerate(getattr(LABELS, head))}
        known = [(theirs[k] + row, mine[one]) for row, one in enumerate(getattr(earlier.labels, head)) if one in mine]
        names += [(3 + row, 3 + to) for row, to in known]
    places = [(row, LABELS.places.index(one)) for row, one in enumerate(earlier.labels.places) if one in LABELS.places]
    for layer, pairs in (("read", names), ("place", places)):
        rows, to = (torch.tensor(side) for side in zip(*pairs, strict=True))
        for part in ("weight", "bias"):
            new[f"{layer}.{part}"][to] = old[f"{layer}.{part}"][rows]


def recipe(steps: Count = 1800, batch: Samples = 32, lr: Rate = 2e-3, start: Path | None = None) -> Recipe[Detector]:
    """Train point detection with focal loss, on renders only and never on generated pictures.

    `start` is the file of an earlier judge that gives the initial weights; it may know other things.
    """
    config = judge.config()

    def build() -> Detector:
        module = Detector(config)
        if start:
            begin(module, judge.load(start))
        return module

    def optimizer(module: Detector) -> torch.optim.Optimizer:
        return Muon(module, hidden_matrices(module, ["stem.1", "read", "place"]), lr)

    def finish(module: Detector, progress: Progress) -> Path:
        threshold = tuned(sights(module, "train", 100, seed=1))
        right = rights(sights(module, "heldout", 400), threshold)
        header = scorefield_file.Header(
            kind="judge",
            config=asdict(config),
            step=progress.step,
            samples=progress.samples,
            figures={f"heldout_right_{task}": round(share, 4) for task, share in right.items()}
            | {f"right_though_{name}": round(share, 4) for name, share in fooled(module, threshold, 50).items()},
            notes=judge.notes(threshold),
        )
        return scorefield_file.save(progress.folder / "scenes-judge.safetensors", module.state_dict(), header)

    return Recipe(
        name="judge",
        build=build,
        batches=in_order(examples, batch),
        loss=loss,
        optimizer=optimizer,
        finish=finish,
        steps=steps,
        batch=batch,
        schedule=Wsd(warmup=50, decay=0.35),
        ema=0.995,
        evaluate=lambda module: (
            rights(sights(module, "heldout", 40), judge.THRESHOLD) | fooled(module, judge.THRESHOLD, 10)
        ),
        evaluate_every=250,
    )
