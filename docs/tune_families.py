"""Tune the experiment `families` and write docs/lab/families-tuning.md. Run: `python docs/tune_families.py [--time]`.

Each finished run is a line of the file of runs; after an interruption, call the script again to run the rest.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from statistics import mean, median
from time import process_time
from typing import NamedTuple

import torch

from scorefield.data import shapes
from scorefield.lab.experiment import silent
from scorefield.lab.families.generative_family import Family
from scorefield.lab.plane.families import CLOUDS, VARIANTS, FamiliesSettings, judge, sampled, trained

RATES = (0.003, 0.01, 0.03)
SETTINGS = FamiliesSettings(seed=1)  # the experiment shows seed 0
ROUNDS = 40  # of timing, each a few updates of every variant
PAGE = Path(__file__).parent / "lab" / "families-tuning.md"
FAR = 100.0  # the relative distance at which samples count as diverged
RUNS = Path("outputs/families-tuning.jsonl")

HEAD = f"""\
# families: how they were tuned

Each family was trained at three learning rates in two variants, with seed {SETTINGS.seed}. The numbers of steps are
such that every variant takes the same process time, about five seconds of one core, within 5 % of the mean. The table
shows the distance of the samples to the data over that of the data to itself, as in [families](families.md); from
{FAR:g} on it says diverged. The experiment uses the setting with a family's smallest distance, in bold.

"""
FOOT = "\nWritten by `python docs/tune_families.py`.\n"


class Run(NamedTuple):
    """One setting of a family, and its result."""

    family: str
    variant: str
    lr: float
    steps: int
    parameters: int
    distance: float  # over that of the data to itself

    @property
    def diverged(self) -> bool:
        """Whether the samples are far from the data, or not numbers."""
        return not self.distance < FAR

    @property
    def setting(self) -> tuple[str, str, float, int]:
        """The setting without its result."""
        return self[:4]


def grid() -> Iterator[tuple[str, Family]]:
    """Every variant at every learning rate: its name and the family with these settings."""
    for variants in VARIANTS.values():
        for name, family in variants.items():
            for lr in RATES:
                yield name, replace(family, how=replace(family.how, lr=lr))


def tried(variant: str, family: Family) -> Run:
    """Train a family, and measure its samples like the experiment."""
    shape = shapes.find(SETTINGS.shape)
    model, _ = trained(family, shape, SETTINGS, silent)
    x, _ = sampled(model, CLOUDS * SETTINGS.points, SETTINGS.seed)
    found = judge(shape, SETTINGS.points, SETTINGS.seed).fit(x.reshape(CLOUDS, -1, 2))
    parameters = sum(one.numel() for one in model.parameters())
    return Run(family.name, variant, family.how.lr, family.how.steps, parameters, found["distance_over_data"])


def say(text: str) -> None:
    """Print a line at once, unbuffered."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def tune(path: Path) -> list[Run]:
    """Every run of the grid: read from the file if it is there, otherwise run and appended to the file."""
    lines = path.read_text().splitlines() if path.exists() else []
    done = {run.setting: run for run in (Run(**json.loads(line)) for line in lines)}
    path.parent.mkdir(parents=True, exist_ok=True)
    runs = []
    for variant, family in grid():
        setting = (family.name, variant, family.how.lr, family.how.steps)
        if setting not in done:
            done[setting] = tried(variant, family)
            with path.open("a") as file:
                file.write(json.dumps(done[setting]._asdict()) + "\n")
        runs.append(done[setting])
        say(f"{len(runs)}: {family.name}, {variant}, lr {family.how.lr}: {done[setting].distance:.2f}")
    return runs


def best(runs: Iterable[Run]) -> dict[str, Run]:
    """The run with the smallest distance, by family."""
    kept = [run for run in runs if not run.diverged]
    return {family: min((r for r in kept if r.family == family), key=lambda r: r.distance) for family in VARIANTS}


def cell(run: Run, chosen: Run) -> str:
    """The table's cell for a run."""
    words = "diverged" if run.diverged else f"{run.distance:.3f}"
    return f"**{words}**" if run == chosen else words


def page(runs: Sequence[Run]) -> str:
    """The page: how the runs were made, and the table of all distances with a row for each variant."""
    chosen = best(runs)
    lines = ["| family | variant | steps | parameters | " + " | ".join(f"lr {lr}" for lr in RATES) + " |"]
    lines.append("|---" * (4 + len(RATES)) + "|")
    for (family, variant), group in groupby(runs, key=lambda run: (run.family, run.variant)):
        row = list(group)
        cells = [VARIANTS[family][variant].title, variant, str(row[0].steps), f"{row[0].parameters:,}"]
        lines.append("| " + " | ".join(cells + [cell(run, chosen[family]) for run in row]) + " |")
    return HEAD + "\n".join(lines) + "\n" + FOOT


def shares() -> Mapping[str, float]:
    """The process time of all steps of each variant over the mean of the variants, as the median over the rounds."""
    shape = shapes.find(SETTINGS.shape)
    named = {f"{one.name}, {name}": one for variants in VARIANTS.values() for name, one in variants.items()}
    going = {name: one.training(shape, replace(one.how, steps=10**6), SETTINGS.seed) for name, one in named.items()}
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        seconds = {}
        for name, updates in going.items():
            count, start = named[name].how.steps // 50, process_time()
            for _ in range(count):
                next(updates)
            seconds[name] = (process_time() - start) / count * named[name].how.steps
        rounds.append(seconds)
    return {name: median(one[name] / mean(one.values()) for one in rounds) for name in named}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=RUNS, help=f"the file of runs (default {RUNS})")
    parser.add_argument("--time", action="store_true", help="print the relative time of every variant's steps")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.time:
        say("\n".join(f"{name}: {share:.2f} of the mean" for name, share in shares().items()))
    else:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(tune(args.runs)), encoding="utf-8")
