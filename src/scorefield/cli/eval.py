"""scorefield eval: how well a model follows its prompts, by a judge trained independently of it."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from scorefield import atomic
from scorefield.cli import common
from scorefield.request import MOST_PROMPTS, fields, group_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scorefield.cli.eval_report import Asked
    from scorefield.data.asked import Task
    from scorefield.evals.adherence import Judged
    from scorefield.evals.judge import Judge

TASKS = ("single", "two", "counting", "colours", "position", "binding")
RENDERS = "renders"  # in place of a model's name: judge the true pictures, which measures the judge itself


class Drawing(TypedDict):
    """The options shared by the commands that draw pictures to judge."""

    model: str
    count: int
    steps: int | None
    sampler: str | None
    seed: int
    tasks: "tuple[Task, ...]"
    batch_size: int


class FilmDrawing(TypedDict):
    """The options of the command that draws films to judge."""

    model: str
    count: int
    steps: int | None
    cfg_scale: float | None
    negative_prompt: str | None
    sampler: str | None
    seed: int
    batch_size: int


@click.group("eval", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Measure how well a model follows its prompts."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _tasks(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    chosen = TASKS if value is None else tuple(dict.fromkeys(word.strip() for word in value.split(",")))
    if odd := [word for word in chosen if word not in TASKS]:
        raise click.BadParameter(f"there is no task {odd[0]!r}; the tasks are {', '.join(TASKS)}")
    return chosen


def _scales(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        scales = tuple(sorted({float(word) for word in value.split(",")}))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 1,2,4") from None
    if not all(0 < scale <= 100 for scale in scales):
        raise click.BadParameter("guidance scales must be above 0 and at most 100")
    return scales


def _flags(field: str) -> list[str]:
    """The names of the option for a field of Request."""
    return [field, *next(option.flags for name, option, _ in fields(group_of(field)) if name == field)]


def _with_drawing(one: click.Command) -> click.Command:
    seeds, batches = click.IntRange(0, 2**63), click.IntRange(1, MOST_PROMPTS)
    one.params[:0] = [
        click.Option(
            _flags("model"), default="scenes", show_default=True, help=f"A model, or {RENDERS} for the true pictures."
        ),
        click.Option(
            ["--count"], type=click.IntRange(1, 9999), default=100, show_default=True, help="Prompts per task."
        ),
        click.Option(_flags("steps"), type=click.IntRange(1, 1000), help="Steps from noise to picture [the model's]."),
        click.Option(_flags("sampler"), help="The sampler [the model's]."),
        click.Option(_flags("seed"), type=seeds, default=0, show_default=True, help="Seed of the first picture."),
        click.Option(["--tasks"], callback=_tasks, metavar="A,B,...", help=f"Only these of {', '.join(TASKS)}."),
        click.Option(_flags("batch_size"), type=batches, default=32, show_default=True, help="Pictures drawn at once."),
    ]
    return one


def _start(given: Drawing) -> "tuple[Asked, Judge]":
    """Load the model, with the scenes that it can draw, and the judge."""
    from scorefield.cli import eval_report
    from scorefield.evals import adherence, judge
    from scorefield.request import Options

    look = judge.load()
    if given["model"] == RENDERS:
        return eval_report.Asked(eval_report.truth, look.labels.knows, adherence.renders), look
    return eval_report.asked(given["model"], Options(steps=given["steps"], sampler=given["sampler"]), look), look


def _results(given: Drawing, asked: "Asked", look: "Judge", scale: float | None, name: str) -> "Iterator[Judged]":
    from scorefield.cli.eval_report import watched
    from scorefield.evals.adherence import judged

    settings = {"count": given["count"], "seed": given["seed"], "batch": given["batch_size"]}
    results = judged(asked.draws(scale), look, askable=asked.askable, tasks=given["tasks"], **settings)
    return watched(results, len(given["tasks"]) * given["count"], name)


_overwrite = click.option("--overwrite", is_flag=True, help="Replace a file of that name.")


def _check_free(path: Path, overwrite: bool) -> None:
    """Fail before any long work if the file could not be written, or is there and is not to be replaced."""
    if not overwrite and os.path.lexists(path):
        raise click.UsageError(f"{path} exists; choose another name, or replace it with --overwrite")
    with atomic.staged(path.parent):
        pass


@_with_drawing
@command.command("adherence", short_help="The share of pictures that show what their prompts say.")
@click.option(*_flags("cfg_scale"), type=click.FloatRange(0, 100), help="Guidance scale [the model's].")
@click.option("--details", type=click.Path(path_type=Path, dir_okay=False), help="File for every verdict (JSON lines).")
@_overwrite
@common.format_option
def adherence(
    cfg_scale: float | None, details: Path | None, overwrite: bool, form: str, **given: Unpack[Drawing]
) -> None:
    """The share of pictures that show exactly what held-out prompts say, with 95 % intervals.

    A right picture shows each named thing in its number and nothing else, with the colours, headgear, relation and
    place of the prompt. The prompts are always the same; --model renders measures the judge itself.
    """
    if details:
        _check_free(details, overwrite)
    with common.drawing():
        from scorefield.cli import eval_report
        from scorefield.evals.adherence import shares

        results = list(_results(given, *_start(given), cfg_scale, given["model"]))
        found = shares(results)
    if details:
        lines = "".join(json.dumps(eval_report.verdict(one), ensure_ascii=False) + "\n" for one in results)
        atomic.write(lines.encode(), iter([details]), overwrite=overwrite)
    common.show(eval_report.numbers(found), form, eval_report.table(found))


@_with_drawing
@command.command("guidance")
@click.option("--scales", callback=_scales, default="1,1.5,2,3,5,8", show_default=True, help="Guidance scales to try.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The figure's file."
)
@_overwrite
@common.format_option
def guidance(scales: tuple[float, ...], output: Path, overwrite: bool, form: str, **given: Unpack[Drawing]) -> None:
    """Draw a figure of adherence against guidance scale."""
    from scorefield.cli import eval_figure

    eval_figure.check(output)
    _check_free(output, overwrite)
    with common.drawing():
        from scorefield.cli import eval_report
        from scorefield.evals.adherence import shares

        asked, look = _start(given)
        found = {scale: shares(_results(given, asked, look, scale, f"scale {scale:g}")) for scale in scales}
    eval_figure.adherence(found, output, overwrite=overwrite)
    records = {f"{scale:g}": eval_report.numbers(each) for scale, each in found.items()}
    lines = [f"{scale:>14g}  {100 * each['overall'].rate:5.1f} %" for scale, each in found.items()]
    common.show(
        {"figure": str(output), "scales": records}, form, "\n".join(["guidance scale  right", *lines, str(output)])
    )


@_with_drawing
@command.command("drawing")
@click.option(*_flags("cfg_scale"), type=click.FloatRange(0, 100), help="Guidance scale [the model's].")
@common.format_option
def drawing(cfg_scale: float | None, form: str, **given: Unpack[Drawing]) -> None:
    """How closely drawn things resemble their true sprites.

    The mean PSNR in dB of everything that held-out prompts name, at the place and size where its sprite fits best; and,
    as a bound, the same for the true pictures after the model's autoencoder.
    """
    with common.drawing():
        from scorefield.evals.drawing import drawn, scores

        asked, _ = _start(given)
        settings = {"count": given["count"], "seed": given["seed"], "batch": given["batch_size"]}
        draws = {"db": asked.draws(cfg_scale), "bound_db": asked.bound}
        found = {
            name: scores(drawn(draw, given["tasks"], askable=asked.askable, **settings)) for name, draw in draws.items()
        }
    table = {task: {name: round(each[task], 2) for name, each in found.items()} for task in found["db"]}
    lines = [f"{task:<10} {one['db']:6.2f} dB  bound {one['bound_db']:6.2f} dB" for task, one in table.items()]
    common.show(table, form, "\n".join(lines))


@command.command("film", short_help="The share of films that show what their prompts say.")
@click.option(*_flags("model"), required=True, help=f"A model of films, or {RENDERS} for the true ones.")
@click.option("--count", type=click.IntRange(1, 9999), default=200, show_default=True, help="Films to draw.")
@click.option(*_flags("steps"), type=click.IntRange(1, 1000), help="Steps from noise to film [the model's].")
@click.option(*_flags("cfg_scale"), type=click.FloatRange(0, 100), help="Guidance scale [the model's].")
@click.option(*_flags("negative_prompt"), help="What to keep away from [the model's].")
@click.option(*_flags("sampler"), help="The sampler [the model's].")
@click.option(*_flags("seed"), type=click.IntRange(0, 2**63), default=0, show_default=True, help="Of the first film.")
@click.option(
    *_flags("batch_size"), type=click.IntRange(1, MOST_PROMPTS), default=8, show_default=True, help="Drawn at once."
)
@click.option("--details", type=click.Path(path_type=Path, dir_okay=False), help="File for every verdict (JSON lines).")
@_overwrite
@common.format_option
def film(details: Path | None, overwrite: bool, form: str, **given: Unpack[FilmDrawing]) -> None:
    """The share of films that show what held-out prompts say, with 95 % intervals.

    Of each film: its things, their motion and its place, and all of these; `same` is the share in which every thing is
    at least 18 dB like its sprite in every fourth frame. The prompts are always the same, in combinations of thing,
    motion and place that no film was trained on; --model renders measures the judge itself.
    """
    if details:
        _check_free(details, overwrite)
    with common.drawing():
        from scorefield.api import load
        from scorefield.cli import eval_report
        from scorefield.evals import film_judge, judge
        from scorefield.lab import drawers
        from scorefield.request import Options

        draw: film_judge.Draw = film_judge.renders
        if given["model"] != RENDERS:
            options = Options(steps=given["steps"], cfg_scale=given["cfg_scale"], sampler=given["sampler"])
            if given["negative_prompt"] is not None:
                options["negative_prompt"] = given["negative_prompt"]
            draw = drawers.films(load(given["model"]), options)
        settings = {"count": given["count"], "seed": given["seed"], "batch": given["batch_size"]}
        judged = film_judge.judged(draw, judge.load(), **settings)
        results = list(eval_report.watched(judged, given["count"], given["model"]))
        found = film_judge.shares(results)
    if details:
        lines = "".join(json.dumps(eval_report.film_verdict(one), ensure_ascii=False) + "\n" for one in results)
        atomic.write(lines.encode(), iter([details]), overwrite=overwrite)
    common.show(eval_report.numbers(found), form, eval_report.table(found, "films"))


@command.command("judge")
@click.option("--count", type=click.IntRange(1, 9999), default=50, show_default=True, help="Pictures of each task.")
@common.format_option
def judge(count: int, form: str) -> None:
    """How often the judge calls pictures right: true ones, and unrecognisable ones.

    The unrecognisable ones are damaged held-out renders: pixels shuffled within cells of 8 x 8, blurred by 3 px, each
    thing half another one, or without its right half. A judge that sees shapes calls hardly any of them right.
    """
    with common.drawing():
        from scorefield.cli import eval_report
        from scorefield.evals import judge as judges
        from scorefield.evals.adherence import ALL_TASKS, judged, shares
        from scorefield.evals.checks import CHECKS

        look, total, found = judges.load(), count * len(ALL_TASKS), {}
        for name, draw in CHECKS.items():
            results = judged(draw, look, askable=look.labels.knows, count=count)
            found[name] = shares(eval_report.watched(results, total, name))["overall"]
    common.show(eval_report.numbers(found), form, eval_report.table(found, "pictures"))
