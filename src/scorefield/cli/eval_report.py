"""Shared by the eval commands: drawing with a model, and results as a table and as JSON."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from scorefield.api import load
from scorefield.data.scenes import Scene
from scorefield.evals import adherence, film_judge
from scorefield.evals.interval import Share
from scorefield.evals.judge import Judge
from scorefield.lab import drawers
from scorefield.request import Options

Shares = Mapping[str, Share]
Judged = TypeVar("Judged", adherence.Judged, film_judge.Judged)
Draws = Callable[[float | None], adherence.Draw]  # guidance scale, None for the model's own -> Draw


class Asked(NamedTuple):
    """A model to judge, the scenes it can draw, and the true pictures after its autoencoder."""

    draws: Draws
    askable: adherence.Askable
    bound: adherence.Draw


def asked(model: str, options: Options, judge: Judge) -> Asked:
    """Load a model, which can draw the scenes whose words it and the judge know; RequestError for an unknown model."""
    pipe = load(model)

    def askable(one: Scene) -> bool:
        return judge.labels.knows(one) and not pipe.stage.conditioner.unknown([one.caption])

    def draws(scale: float | None) -> adherence.Draw:
        return drawers.pictures(pipe, Options(**options, cfg_scale=scale))

    return Asked(draws, askable, drawers.decoded(pipe))


def truth(scale: float | None) -> adherence.Draw:
    """The Draws of the true renders, which ignore the guidance scale."""
    return adherence.renders


def watched(results: Iterator[Judged], total: int, name: str) -> Iterator[Judged]:
    """The same results behind a progress bar on stderr that shows the share of right ones."""
    right = 0
    with tqdm(results, total=total, desc=name, leave=False, disable=None) as bar:
        for k, one in enumerate(bar, 1):
            right += one.right
            bar.set_postfix(right=f"{100 * right / k:.1f} %", refresh=False)
            yield one


def verdict(one: adherence.Judged) -> dict[str, object]:
    """The verdict on a picture as plain JSON."""
    return {
        "task": one.scene.task,
        "prompt": one.scene.caption,
        "seed": one.seed,
        "right": one.right,
        "faults": one.faults,
        "found": [found._asdict() for found in one.seen.found],
        "place": one.seen.place,
    }


def film_verdict(one: film_judge.Judged) -> dict[str, object]:
    """The verdict on a film as plain JSON."""
    db = one.likeness
    return {
        "task": one.film.task,
        "prompt": one.film.caption,
        "seed": one.seed,
        "right": one.right,
        **{name: fault for name, fault in one.verdict._asdict().items() if fault is not None},
        "likeness_db": None if db is None else round(db, 2),
    }


def numbers(shares: Shares) -> dict[str, dict[str, float]]:
    """The table as plain JSON."""
    return {
        task: {name: value if name == "n" else round(value, 4) for name, value in share._asdict().items()}
        for task, share in shares.items()
    }


def table(shares: Shares, of: str = "task") -> str:
    """The table as text."""
    lines = [f"{of:<10} {'right':>7}  {'95 % interval':>15}  {'n':>5}"]
    for task, share in shares.items():
        low, high = f"{100 * share.low:.1f}", f"{100 * share.high:.1f}"
        lines.append(f"{task:<10} {100 * share.rate:5.1f} %  {low:>6} - {high:>5} %  {share.n:>5}")
    return "\n".join(lines)
