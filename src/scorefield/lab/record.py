"""The files of a run: result.json, figure.png, and for some experiments animation.mp4 or animation.gif."""

import io
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from scorefield import __version__, atomic
from scorefield.files import video
from scorefield.lab.experiment import Animation, Criterion, Experiment, Outcome, R, S

RESULT, FIGURE, ANIMATION = "result.json", "figure.png", "animation"


class Condition(BaseModel):
    """One condition of the claim, as stated before the run, with the measured value."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    number: str
    relation: Literal["<=", ">="]
    bound: float
    value: float
    held: bool


class Record(BaseModel):
    """The content of result.json."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="A result of the scorefield lab")
    name: str
    claim: str
    criterion: list[Condition]
    held: bool
    reason: str | None  # why the claim does not hold, if the reason is known
    numbers: dict[str, float]
    settings: dict[str, JsonValue]
    seed: int
    seconds: float
    versions: dict[str, str]


def record(outcome: Outcome[S, R]) -> Record:
    """The content of result.json for an outcome."""
    experiment, numbers = outcome.experiment, outcome.numbers
    return Record(
        name=experiment.name,
        claim=experiment.claim,
        criterion=[
            Condition(**one._asdict(), value=numbers[one.number], held=one.holds(numbers))
            for one in experiment.criteria
        ],
        held=outcome.held,
        reason=None if outcome.held else experiment.reason or None,
        numbers=numbers,
        settings=json.loads(json.dumps(asdict(outcome.settings))),
        seed=outcome.settings.seed,
        seconds=round(outcome.seconds, 2),
        versions={"scorefield": __version__, "torch": version("torch"), "python": platform.python_version()},
    )


def schema() -> dict[str, object]:
    """The JSON Schema of result.json."""
    return Record.model_json_schema()


def save(outcome: Outcome[S, R], folder: Path) -> list[Path]:
    """Write the files of an outcome atomically, replacing those of an earlier run; returns their paths.

    result.json is written last, so if it exists the others do. Without PyAV the animation is a GIF.
    """
    picture = io.BytesIO()
    outcome.figure.savefig(picture, format="png")
    written = [_put(picture.getvalue(), folder / FIGURE)]
    if shown := outcome.animation():
        written.append(_put_animation(shown, folder))
    text = json.dumps(record(outcome).model_dump(mode="json"), indent=2, allow_nan=False)
    return [_put(text.encode() + b"\n", folder / RESULT), *written]


def load(folder: Path) -> Record | None:
    """The record in a folder; None if there is none that this version can read."""
    try:
        return Record.model_validate_json((folder / RESULT).read_bytes())
    except (OSError, ValueError):
        return None


def still_right(kept: Record, experiment: Experiment[S, R], settings: S) -> bool:
    """Whether a record has these settings and the claim of this version."""
    stated = [Criterion(one.number, one.relation, one.bound) for one in kept.criterion]
    return (
        kept.settings == json.loads(json.dumps(asdict(settings)))
        and kept.versions["scorefield"] == __version__
        and (kept.name, kept.claim, stated) == (experiment.name, experiment.claim, list(experiment.criteria))
    )


def _once(path: Path) -> Iterator[Path]:
    yield path


def _put(data: bytes, path: Path) -> Path:
    return atomic.write(data, _once(path), overwrite=True)


def _put_animation(shown: Animation, folder: Path) -> Path:
    kind = "mp4" if video.can_encode() else "gif"
    with atomic.staged(folder) as path:
        (video.write_mp4 if kind == "mp4" else video.write_gif)(shown.frames, path, shown.per_second)
        return atomic.publish(path, _once(folder / f"{ANIMATION}.{kind}"), overwrite=True)
