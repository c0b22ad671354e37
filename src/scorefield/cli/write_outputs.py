"""Draw the pictures of a plan with a progress bar, and write them, with contact sheets and films if wanted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from scorefield import atomic
from scorefield.api import Group, Picture, Pipeline
from scorefield.api.start import steps_walked
from scorefield.files import output_names, picture
from scorefield.files.output_names import OutputNames
from scorefield.files.walk_sheet import Look, sheet
from scorefield.files.walk_video import write_walk_video
from scorefield.sample.walk import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What to write, and where."""

    names: OutputNames
    overwrite: bool
    sheet: bool
    film: bool


class Files(NamedTuple):
    """The files of one picture."""

    picture: Path
    sheet: Path | None
    film: Path | None


def draw(pipe: Pipeline, groups: Sequence[Group], outputs: Outputs, *, quiet: bool) -> Iterator[tuple[Picture, Files]]:
    """Every picture of `groups`, as soon as its files are written."""
    total = sum(steps_walked(group.request)[1] for group in groups)
    with tqdm(total=total, unit="step", leave=False, disable=True if quiet else None) as bar:
        for group in groups:
            looks: list[list[Look]] = [[] for _ in group.seeds]
            for step in pipe.walk(group):
                bar.update(min(step.i, 1))
                if outputs.sheet or outputs.film:
                    for seen, look in zip(looks, _looks(pipe, step), strict=True):
                        seen.append(look)
            bar.clear()
            for one, seen in zip(pipe.pictures(group, step.x), looks, strict=True):
                yield one, _write(one, seen, outputs)


def _looks(pipe: Pipeline, step: Step) -> Iterator[Look]:
    unit = step.x / hypot(*step.at)  # a decoder expects unit variance
    for noisy, clean in zip(pipe.images(unit), pipe.images(step.x0), strict=True):
        yield Look(step.i, step.n, float(step.at.lam), noisy, clean)


def _write(one: Picture, looks: Sequence[Look], outputs: Outputs) -> Files:
    path = atomic.write(one.png(), outputs.names.of(one.prompt), overwrite=outputs.overwrite)
    return Files(
        picture=path,
        sheet=_write_sheet(looks, _beside(path, "-sheet.png"), outputs) if outputs.sheet else None,
        film=_write_film(looks, _beside(path, "-film.mp4"), outputs) if outputs.film else None,
    )


def _beside(path: Path, ending: str) -> Iterator[Path]:
    return output_names.beside(path.with_name(path.stem + ending))


def _write_sheet(looks: Sequence[Look], names: Iterator[Path], outputs: Outputs) -> Path:
    return atomic.write(picture.encode(sheet(looks), {}), names, overwrite=outputs.overwrite)


def _write_film(looks: Sequence[Look], names: Iterator[Path], outputs: Outputs) -> Path:
    with atomic.staged(outputs.names.folder) as path:
        write_walk_video(looks, path)
        return atomic.publish(path, names, overwrite=outputs.overwrite)
