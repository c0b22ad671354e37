"""scorefield lab: run an experiment, or all of them."""

import textwrap
from collections.abc import Iterable
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from scorefield.cli import common

if TYPE_CHECKING:
    from scorefield.lab.experiment import Experiment, Outcome, Result, Settings

T = TypeVar("T")
OUTPUT = Path("outputs") / "lab"


@click.command("lab")
@click.argument("name", required=False)
@click.option("--set", "given", metavar="NAME=VALUE", multiple=True, callback=common.pairs, help="Change a setting.")
@click.option("--all", "every", is_flag=True, help="Run every experiment and build one offline page.")
@click.option("--resume", is_flag=True, help="With --all: keep results that are up to date.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Output folder [outputs/lab/NAME].")
@click.option("--describe", is_flag=True, help="Print the description, claim and settings of NAME; do not run it.")
@common.format_option
def command(
    name: str | None, given: dict[str, str], every: bool, resume: bool, output: Path | None, describe: bool, form: str
) -> None:
    """List the experiments, or run NAME.

    It writes result.json, figure.png and, for some experiments, an animation. The exit code says whether it ran, not
    whether the claim held.
    """
    with common.failures():
        from scorefield.lab import LabError
        from scorefield.lab.names import find

        try:
            if every:
                if name or given or describe:
                    raise click.UsageError(
                        "--all runs every experiment with its defaults: leave out NAME, --set and --describe"
                    )
                _all(output or OUTPUT, resume)
            elif resume:
                raise click.UsageError("--resume needs --all")
            elif name is None:
                if given or describe or output:
                    raise click.UsageError("give the name of an experiment; scorefield lab lists them")
                _list(form)
            elif describe:
                click.echo(_described(find(name)))
            else:
                experiment = find(name)
                _one(experiment, experiment.parse(given), output or OUTPUT / experiment.name, form)
        except LabError as error:
            raise click.UsageError(str(error)) from None


def _list(form: str) -> None:
    from scorefield.lab import EXPERIMENTS

    claims = {name: one.claim for name, one in EXPERIMENTS.items()}
    width = max(map(len, claims)) + 2
    lines = [f"{name:<{width}}{textwrap.shorten(claim, 200)}" for name, claim in claims.items()]
    common.show(
        claims, form, "\n".join([*lines, "", "scorefield lab NAME runs one, --describe explains it, --all runs all"])
    )


def _described(experiment: "Experiment[Settings, Result]") -> str:
    from scorefield.lab.page import prose

    settings = [f"  {field.name}={field.default}" for field in fields(experiment.settings)]
    criteria = [f"  {one}" for one in experiment.criteria]
    return "\n".join(
        [prose(experiment), "", f"Claim: {experiment.claim}", "It holds if", *criteria, "Settings", *settings]
    )


def _ready(folder: Path) -> None:
    """Fail before any long work if the figure cannot be drawn or written."""
    from scorefield import atomic
    from scorefield.lab import style

    style.figure()
    with atomic.staged(folder):
        pass
    if find_spec("av") is None:
        common.say("warning: animations will be GIFs; for MP4: pip install 'scorefield[lab]'")


def _run(experiment: "Experiment[Settings, Result]", settings: "Settings") -> "Outcome[Settings, Result]":
    from tqdm import tqdm

    def watch(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
        bar: Iterable[T] = tqdm(items, desc=f"{experiment.name}: {what}", total=total, leave=False, disable=None)
        return bar

    return experiment.outcome(settings, watch)


def _one(experiment: "Experiment[Settings, Result]", settings: "Settings", folder: Path, form: str) -> None:
    from scorefield.lab import record

    _ready(folder)
    outcome = _run(experiment, settings)
    written = record.save(outcome, folder)
    saved = record.record(outcome).model_dump(mode="json")
    lines = [f"{experiment.claim}"]
    for one in experiment.criteria:
        verdict = "yes" if one.holds(outcome.numbers) else "NO"
        lines.append(
            f"  {one.number} = {outcome.numbers[one.number]:.4g}, expected {one.relation} {one.bound:g}: {verdict}"
        )
    lines.append("The claim held." if outcome.held else f"The claim did not hold. {experiment.reason}".strip())
    common.show(saved | {"files": [str(path) for path in written]}, form, "\n".join([*lines, *map(str, written)]))


def _all(folder: Path, resume: bool) -> None:
    from scorefield.lab import EXPERIMENTS, page, record

    _ready(folder)
    for name, experiment in EXPERIMENTS.items():
        settings = experiment.parse({})
        kept = record.load(folder / name) if resume else None
        if kept is None or not record.still_right(kept, experiment, settings):
            outcome = _run(experiment, settings)
            record.save(outcome, folder / name)
            kept = record.record(outcome)
        click.echo(f"{name:<12} {'held' if kept.held else 'DID NOT HOLD':<13} {kept.seconds:5.1f} s")
    common.show_path(page.build(folder))
