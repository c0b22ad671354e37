"""An experiment: a claim, the numbers that would refute it, stated before the run, and what came out."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Generic, Literal, NamedTuple, Protocol, TypeVar

from PIL import Image
from pydantic import Field, TypeAdapter, ValidationError

from scorefield.errors import RequestError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")


class LabError(RequestError):
    """What was asked of the lab cannot be; the message says what can."""


class Watch(Protocol):
    """How a long loop is watched: the same items, perhaps behind a progress bar that says `what` of `total`."""

    def __call__(self, items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]: ...


def silent(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """Nobody watches."""
    return items


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every experiment can be told; each has its own besides, all with defaults."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Result(Protocol):
    """What every experiment finds; each has its own tensors besides, from which its figure is drawn."""

    @property
    def numbers(self) -> Mapping[str, float]: ...


S = TypeVar("S", bound=Settings)
R = TypeVar("R", bound=Result)


class Criterion(NamedTuple):
    """One condition of a claim: the number of that name is at most, or at least, the bound."""

    number: str
    relation: Literal["<=", ">="]
    bound: float

    def holds(self, numbers: Mapping[str, float]) -> bool:
        """Whether it does."""
        value = numbers[self.number]
        return value <= self.bound if self.relation == "<=" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.number} {self.relation} {self.bound:g}"


class Film(NamedTuple):
    """Frames of one size, and how many a second."""

    frames: Iterable[Image.Image]
    per_second: int = 20


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[S, R]):
    """A claim and how it is tested. Its page in the documentation is the docstring of the module that it lives in.

    Called with settings by name it runs, and gives an Outcome; LabError for a setting that it does not have.
    """

    name: str
    claim: str  # one sentence that can be false
    criteria: tuple[Criterion, ...]  # the claim holds if all of them do
    settings: type[S]
    run: Callable[[S, Watch], R]
    draw: Callable[[R], "Figure"]
    film: Callable[[R], Film] | None = None
    reason: str = ""  # why the claim does not hold, where it is known not to

    def __call__(self, *, watch: Watch = silent, **settings: object) -> "Outcome[S, R]":
        return self.outcome(self.parse(settings), watch)

    def parse(self, given: Mapping[str, object]) -> S:
        """The settings with the given ones in place of the defaults, text read as their types say."""
        known = [field.name for field in fields(self.settings)]
        for name in given:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                told = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
                raise LabError(f"{self.name} has no setting {name!r}; {told}")
        try:
            return TypeAdapter(self.settings).validate_python(dict(given))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else "settings"
            raise LabError(f"{self.name}: {name}={first['input']!r}: {first['msg'].lower()}") from None

    def outcome(self, settings: S, watch: Watch = silent) -> "Outcome[S, R]":
        """Run it; ArithmeticError if a number is not finite."""
        start = perf_counter()
        result = self.run(settings, watch)
        seconds = perf_counter() - start
        for name, value in result.numbers.items():
            if not math.isfinite(value):
                raise ArithmeticError(f"{self.name}: {name} is {value}; change a setting, or report it as a fault")
        return Outcome(experiment=self, settings=settings, result=result, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[S, R]):
    """What a run of an experiment found."""

    experiment: Experiment[S, R]
    settings: S
    result: R
    seconds: float

    @property
    def numbers(self) -> dict[str, float]:
        """Every measured number by name."""
        return {name: float(value) for name, value in self.result.numbers.items()}

    @property
    def held(self) -> bool:
        """Whether every criterion of the claim does."""
        return all(one.holds(self.numbers) for one in self.experiment.criteria)

    @cached_property
    def figure(self) -> "Figure":
        """The figure, drawn from the result; an ImportError names the extra that it needs."""
        return self.experiment.draw(self.result)

    def film(self) -> Film | None:
        """The film, where time matters."""
        return self.experiment.film(self.result) if self.experiment.film else None

    def __repr__(self) -> str:
        verdict = "held" if self.held else "did not hold"
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        return f"{self.experiment.name}: {verdict} ({numbers})"
