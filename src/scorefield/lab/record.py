"""What a run leaves in its folder: result.json, figure.png, and film.mp4 or film.gif where time matters."""

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
from scorefield.lab.experiment import Criterion, Experiment, Film, Outcome, R, S

RESULT, FIGURE, FILM = "result.json", "figure.png", "film"


class Condition(BaseModel):
    """One condition of the claim, as stated before the run, and what was measured."""

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
    reason: str | None  # why the claim does not hold, where it does not and the reason is known
    numbers: dict[str, float]
    settings: dict[str, JsonValue]
    seed: int
    seconds: float
    versions: dict[str, str]


def record(outcome: Outcome[S, R]) -> Record:
    """What result.json says of an outcome."""
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
    """Write the files of an outcome, each whole or not at all, over those of an earlier run; returns their paths.

    result.json comes last: where it lies, the rest does too. Without PyAV the film is a GIF.
    """
    picture = io.BytesIO()
    outcome.figure.savefig(picture, format="png")
    written = [_put(picture.getvalue(), folder / FIGURE)]
    if shown := outcome.film():
        written.append(_put_film(shown, folder))
    text = json.dumps(record(outcome).model_dump(mode="json"), indent=2, allow_nan=False)
    return [_put(text.encode() + b"\n", folder / RESULT), *written]


def load(folder: Path) -> Record | None:
    """The record in a folder, None if there is none, or none that this version could have written."""
    try:
        return Record.model_validate_json((folder / RESULT).read_bytes())
    except (OSError, ValueError):
        return None


def still_right(kept: Record, experiment: Experiment[S, R], settings: S) -> bool:
    """Whether a record is of these settings, and of the claim as it stands in this version."""
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


def _put_film(shown: Film, folder: Path) -> Path:
    kind = "mp4" if video.can_encode() else "gif"
    with atomic.staged(folder) as path:
        (video.write_mp4 if kind == "mp4" else video.write_gif)(shown.frames, path, shown.per_second)
        return atomic.publish(path, _once(folder / f"{FILM}.{kind}"), overwrite=True)
