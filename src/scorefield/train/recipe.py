"""Recipes: the full typed configuration of a training run; find a recipe by name, and parse its settings."""

import difflib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, get_type_hints

import torch
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from scorefield.data.scripts import FRAMES
from scorefield.errors import DamagedError, MissingError, RequestError
from scorefield.train.batches import Batch, Batches
from scorefield.train.optim import Wsd

M = TypeVar("M", bound=nn.Module)
Figures = Mapping[str, float]
Setting = int | float | str | bool | None | Path

# Types of settings, for the annotations of a recipe's arguments.
Count = Annotated[int, Field(ge=1, le=10**9)]
Samples = Annotated[int, Field(ge=1, le=2**16)]  # of one batch
Rate = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # seeds that differ by 2^32 would give the same run


def _of_latents(frames: int) -> int:
    if frames % 2 != 1:
        raise ValueError(f"a film has 2k + 1 frames, such as {frames - 1}")
    return frames


Frames = Annotated[int, Field(ge=1, le=FRAMES), AfterValidator(_of_latents)]  # of a film

_SHOWN = 60  # characters of a value in a message


class Progress(NamedTuple):
    """The state of a run, for the header of the weights that it writes at the end."""

    step: int
    samples: int
    seconds: float  # spent training, over all resumes
    folder: Path  # of the run
    figures: Figures  # the newest evaluation


@dataclass(frozen=True, kw_only=True)
class Recipe(Generic[M]):
    """One training run. Everything random depends on the seed and the samples seen, so that resuming is exact.

    `loss` runs under autocast, and gets a CPU generator for each step, to draw with before moving to the device.
    RequestError for a number out of range.
    """

    name: str
    build: Callable[[], M]  # seeded before the call
    batches: Batches  # one that takes only the samples seen trains on one process only
    loss: Callable[[M, Batch, torch.Generator], tuple[Tensor, Mapping[str, Tensor]]]  # scalar, scalars to log
    optimizer: Callable[[M], torch.optim.Optimizer]
    finish: Callable[[M, Progress], Path]  # writes the final weights; gets the averaged module in eval mode
    steps: int
    batch: int  # samples per step, over all processes
    seed: int = 0
    schedule: Wsd = field(default_factory=Wsd)
    ema: float = 0.999
    clip: float = 1.0  # maximum norm of the gradient
    evaluate: Callable[[M], Figures] | None = None  # gets the averaged module in eval mode
    evaluate_every: int = 1000  # steps

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluate_every"):
            if getattr(self, name) < 1:
                raise RequestError(f"recipe {self.name}: {name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise RequestError(f"recipe {self.name}: ema must be at least 0 and below 1, not {self.ema:g}")
        if not self.clip > 0:
            raise RequestError(f"recipe {self.name}: clip must be above 0, not {self.clip:g}")


def _folders() -> list[Path]:
    return [Path("recipes"), Path(__file__).resolve().parents[3] / "recipes"]


def _is_recipe(path: Path) -> bool:
    return path.is_file() and b"def recipe(" in path.read_bytes()


def find(name: str) -> Path:
    """The file of a recipe given by path or by name; MissingError lists the nearest names."""
    if Path(name).is_file():
        return Path(name)
    files = [path for folder in reversed(_folders()) for path in sorted(folder.glob("*.py"))]
    known = {path.stem: path for path in files if _is_recipe(path)}
    if name.replace("-", "_") in known:
        return known[name.replace("-", "_")]
    if not known:
        raise MissingError(f"no recipe {_short(name)}, and no recipes folder here; give the path of a recipe file")
    raise MissingError(f"no recipe {_short(name)}; {_nearest(Path(name).stem, known)}")


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name[:_SHOWN], known, n=3, cutoff=0.3)
    return f"{'nearest' if near else 'known'}: {', '.join(near or known)}"


def shown(value: object) -> str:
    """A user's text for a message: unchanged if it is short and printable, else escaped and cut."""
    text = str(value)
    return text if text.isprintable() and len(text) <= _SHOWN else _short(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def read(path: Path) -> Callable[..., Recipe[nn.Module]]:
    """Import the function `recipe` of a file; DamagedError if there is none, MissingError if an import fails."""
    spec = importlib.util.spec_from_file_location(f"scorefield_recipe_{path.stem}", path)
    if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        raise DamagedError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and data loader workers look a module up by its name
    try:
        spec.loader.get_code(spec.name)
    except (SyntaxError, ValueError) as error:  # ValueError: a NUL in the source, before Python 3.12
        raise DamagedError(f"{path} cannot be read: {error}") from None
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise MissingError(f"{path} cannot be read: {error}") from None
    function = getattr(module, "recipe", None)
    if not callable(function):
        raise DamagedError(f"{path} has no function recipe()")
    return function  # type: ignore[no-any-return]


def settings(function: Callable[..., Recipe[nn.Module]], given: Mapping[str, str]) -> dict[str, Setting]:
    """The settings of a recipe function: its defaults, replaced by the `given` texts parsed by annotation.

    RequestError for an unknown name, a value that does not fit the annotation, a number that is not finite, a path to
    something that is neither a file nor a folder, and a missing argument without a default.
    """
    hints = get_type_hints(function, include_extras=True)
    values = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    for name, text in given.items():
        if name not in values:
            hint = _nearest(name, values) if values else "this recipe has none"
            raise RequestError(f"no setting {_short(name)}; {hint}")
        values[name] = _parsed(name, text, hints.get(name, str))
    if missing := [name for name, value in values.items() if value is inspect.Parameter.empty]:
        raise RequestError(f"this recipe needs a value for {missing[0]}: --set {missing[0]}=VALUE")
    return values


def _parsed(name: str, text: str, hint: Any) -> Setting:
    wrong = f"--set {name}={shown(text)}"
    try:
        value: Setting = TypeAdapter(hint).validate_python(text)
    except ValidationError as error:
        raise RequestError(
            f"{wrong}: {error.errors()[0]['msg'].replace('Input ', 'it ').replace('String ', 'it ')}"
        ) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"{wrong}: it should be a finite number")
    if "\0" in text:
        raise RequestError(f"{wrong}: no setting can contain a NUL character")
    if isinstance(value, Path) and value.exists() and not (value.is_file() or value.is_dir()):
        raise RequestError(f"{wrong}: this is neither a file nor a folder")
    return value
