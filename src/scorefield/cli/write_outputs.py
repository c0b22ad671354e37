"""Consume a job on the command line: progress bar, notes, and files, optionally with sheets and walk videos."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import hypot
from pathlib import Path

from tqdm import tqdm

from scorefield import atomic
from scorefield.api import Film, Job, Picture
from scorefield.files import output_names, picture
from scorefield.files.output_names import OutputNames
from scorefield.files.walk_pictures import Look, sheet, write_walk_video
from scorefield.model.events import Finished, Loading, Output, Step
from scorefield.notes import Note

_FRAMES = 5  # of a film, in a sheet or a walk video


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files to write, and where."""

    names: OutputNames
    ending: str  # of `names`
    overwrite: bool
    sheet: bool
    walk_video: bool
    at: frozenset[int] | None = None  # the steps of the sheet; None for all


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A picture or film whose files are written: itself as `picture` or `film`, `sheet` and `walk_video`."""

    media: Picture | Film
    files: Mapping[str, Path]


def watched(job: Job, say: Callable[[str], object], *, quiet: bool) -> Iterator[Step | Output | Finished]:
    """The events of a job that need further work; the others become lines and a progress bar.

    `quiet` drops the bar and the lines on loading, but not notes, since they warn.
    """
    total = job.plan.steps * len(job.plan.batches)
    with closing(job), tqdm(total=total, unit="step", leave=False, disable=True if quiet else None) as bar:
        for event in job:
            match event:
                case Loading(model=model, part=part):
                    if not quiet:
                        bar.clear()
                        say(f"loading {model}" if part is None else f"loading the {part}")
                case Note(text=text):
                    bar.clear()
                    say(f"warning: {text}")
                case Step(progress=progress):
                    bar.update(round(progress * total) - bar.n)
                    yield event
                case Output():
                    bar.clear()
                    yield event
                case _:
                    yield event


def write_all(job: Job, outputs: Outputs, say: Callable[[str], object], *, quiet: bool) -> Iterator[Written | Finished]:
    """Yield every output of `job` as soon as its files are written, and the end."""
    looks: list[list[Look]] = []
    first = 0
    for event in watched(job, say, quiet=quiet):
        match event:
            case Step():
                if event.i == 0 and event.stage == 0:
                    looks, first = [[] for _ in event.batch.seeds], event.batch.first
                if outputs.walk_video or (outputs.sheet and (outputs.at is None or event.i in outputs.at)):
                    for seen, look in zip(looks, _looks(job, event), strict=True):
                        seen.append(look)
            case Output(media=Picture() | Film() as one):
                yield Written(media=one, files=_write(one, looks[one.index - first], outputs))
            case Finished():
                yield event


def _looks(job: Job, step: Step) -> Iterator[Look]:
    unit = step.x if step.at is None else step.x / hypot(*step.at)  # a decoder expects unit variance
    lam = float("nan") if step.at is None else float(step.at.lam)
    frames = _FRAMES if job.plan.canvas.frames > 1 else 1
    for noisy, clean in zip(*(job.look(step.stage, x, frames) for x in (unit, step.x0)), strict=True):
        yield Look(step.i, step.n, lam, noisy, clean)


def _write(one: Picture | Film, looks: Sequence[Look], outputs: Outputs) -> dict[str, Path]:
    path = one.write(outputs.names.of(one.prompt, outputs.ending), overwrite=outputs.overwrite)
    files = {"film" if isinstance(one, Film) else "picture": path}
    if outputs.sheet:
        shown = [look for look in looks if outputs.at is None or look.i in outputs.at]
        files["sheet"] = _write_sheet(shown, _beside(path, "-sheet.png"), outputs)
    if outputs.walk_video:
        files["walk_video"] = _write_video(looks, _beside(path, "-walk.mp4"), outputs)
    return files


def _beside(path: Path, ending: str) -> Iterator[Path]:
    return output_names.numbered_after(path.with_name(path.stem + ending))


def _write_sheet(looks: Sequence[Look], names: Iterator[Path], outputs: Outputs) -> Path:
    return atomic.write(picture.encode(sheet(looks), {}), names, overwrite=outputs.overwrite)


def _write_video(looks: Sequence[Look], names: Iterator[Path], outputs: Outputs) -> Path:
    with atomic.staged(outputs.names.folder) as path:
        write_walk_video(looks, path)
        return atomic.publish(path, names, overwrite=outputs.overwrite)
