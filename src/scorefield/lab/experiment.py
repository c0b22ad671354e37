"""Experiments: a claim, criteria that are fixed before the run, and the outcome."""

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
    """A request that the lab cannot meet; the message says what it can do."""


class Watch(Protocol):
    """Wraps a long loop: yields the same items, usually with a progress bar named `what` over `total`."""

    def __call__(self, items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]: ...


def silent(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """A Watch that shows nothing."""
    return items


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of every experiment; each adds its own, all with defaults."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Result(Protocol):
    """The result of every experiment; each adds its own tensors, from which its figure is drawn."""

    @property
    def numbers(self) -> Mapping[str, float]: ...


S = TypeVar("S", bound=Settings)
R = TypeVar("R", bound=Result)


class Criterion(NamedTuple):
    """One condition of a claim: the named number is at most, or at least, the bound."""

    number: str
    relation: Literal["<=", ">="]
    bound: float

    def holds(self, numbers: Mapping[str, float]) -> bool:
        """Whether the number meets the bound."""
        value = numbers[self.number]
        return value <= self.bound if self.relation == "<=" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.number} {self.relation} {self.bound:g}"


class Animation(NamedTuple):
    """Frames of equal size, and the frame rate."""

    frames: Iterable[Image.Image]
    per_second: int = 20


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[S, R]):
    """A claim and how it is tested. The docstring of its module is its page in the documentation.

    Calling it with settings by name runs it and returns an Outcome; LabError for an unknown setting.
    """

    name: str
    claim: str  # one sentence that can be false
    criteria: tuple[Criterion, ...]  # the claim holds if all of these do
    settings: type[S]
    run: Callable[[S, Watch], R]
    draw: Callable[[R], "Figure"]
    animate: Callable[[R], Animation] | None = None
    reason: str = ""  # why the claim does not hold, if it is known not to

    def __call__(self, *, watch: Watch = silent, **settings: object) -> "Outcome[S, R]":
        return self.outcome(self.parse(settings), watch)

    def parse(self, given: Mapping[str, object]) -> S:
        """The settings, with the given values instead of the defaults; text is parsed by type."""
        known = [field.name for field in fields(self.settings)]
        for name in given:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
                raise LabError(f"{self.name} has no setting {name!r}; {hint}")
        try:
            return TypeAdapter(self.settings).validate_python(dict(given))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else "settings"
            raise LabError(f"{self.name}: {name}={first['input']!r}: {first['msg'].lower()}") from None

    def outcome(self, settings: S, watch: Watch = silent) -> "Outcome[S, R]":
        """Run the experiment; ArithmeticError if a number is not finite."""
        start = perf_counter()
        result = self.run(settings, watch)
        seconds = perf_counter() - start
        for name, value in result.numbers.items():
            if not math.isfinite(value):
                raise ArithmeticError(f"{self.name}: {name} is {value}; change a setting, or report a bug")
        return Outcome(experiment=self, settings=settings, result=result, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[S, R]):
    """The outcome of one run of an experiment."""

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
        """Whether every criterion of the claim is met."""
        return all(one.holds(self.numbers) for one in self.experiment.criteria)

    @cached_property
    def figure(self) -> "Figure":
        """Draw the figure from the result; an ImportError names the extra that it needs."""
        return self.experiment.draw(self.result)

    def animation(self) -> Animation | None:
        """Draw the animation, for experiments that have one."""
        return self.experiment.animate(self.result) if self.experiment.animate else None

    def __repr__(self) -> str:
        verdict = "held" if self.held else "did not hold"
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        return f"{self.experiment.name}: {verdict} ({numbers})"
