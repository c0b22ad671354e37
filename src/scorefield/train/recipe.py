"""A recipe, which is the full typed configuration of one training run, and how a recipe is found by name."""

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from scorefield.train.batches import Batch
from scorefield.train.errors import TrainError
from scorefield.train.lr_schedule import Wsd

M = TypeVar("M", bound=nn.Module)
Figures = Mapping[str, float]
Setting = int | float | str | bool | None | Path


class Progress(NamedTuple):
    """How far a run has come, for the header of the weights that it writes at the end."""

    step: int
    samples: int
    seconds: float  # spent training, over all resumes
    folder: Path  # of the run
    figures: Figures  # the newest evaluation


@dataclass(frozen=True, kw_only=True)
class Recipe(Generic[M]):
    """One training run. All that is random in it depends on the seed and the samples seen, so that a resume is exact.

    `loss` runs under autocast. For every step it gets a CPU generator, to draw with before moving to the device.
    """

    name: str
    build: Callable[[], M]  # seeded before the call
    batches: Callable[[int], Iterator[Batch]]  # samples seen -> the batches from there on
    loss: Callable[[M, Batch, torch.Generator], tuple[Tensor, Mapping[str, Tensor]]]  # scalar, scalars to log
    optimizer: Callable[[M], torch.optim.Optimizer]
    finish: Callable[[M, Progress], Path]  # writes the weights that ship: the averaged module, in eval mode
    steps: int
    batch: int  # samples a step
    seed: int = 0
    schedule: Wsd = field(default_factory=Wsd)
    ema: float = 0.999
    clip: float = 1.0  # largest norm of the gradient
    evaluate: Callable[[M], Figures] | None = None  # of the averaged module, in eval mode
    evaluate_every: int = 1000  # steps


def _folders() -> list[Path]:
    return [Path("recipes"), Path(__file__).resolve().parents[3] / "recipes"]


def find(name: str) -> Path:
    """The file of a recipe given by path or by name; TrainError lists the nearest names."""
    if Path(name).is_file():
        return Path(name)
    files = [path for folder in reversed(_folders()) for path in sorted(folder.glob("*.py"))]
    known = {path.stem: path for path in files if "def recipe(" in path.read_text(encoding="utf-8")}
    if name.replace("-", "_") in known:
        return known[name.replace("-", "_")]
    near = difflib.get_close_matches(Path(name).stem, known, n=3, cutoff=0.3)
    hint = f"{'nearest' if near else 'known'}: {', '.join(near or sorted(known))}"
    raise TrainError(f"no recipe {name!r}; {hint if known else 'there is no recipes folder here; give a path'}")


def read(path: Path) -> Callable[..., Recipe[nn.Module]]:
    """The function `recipe` of a recipe file; TrainError if it is not there, or if the file cannot be imported."""
    spec = importlib.util.spec_from_file_location(f"scorefield_recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise TrainError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and data loader workers look a module up by its name
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError) as error:
        raise TrainError(f"{path} cannot be read: {error}") from None
    function = getattr(module, "recipe", None)
    if not callable(function):
        raise TrainError(f"{path} has no function recipe()")
    return function  # type: ignore[no-any-return]


def settings(function: Callable[..., Recipe[nn.Module]], given: Mapping[str, str]) -> dict[str, Setting]:
    """The settings of a recipe function: its defaults, replaced by the `given` texts, read by their annotations.

    TrainError for a name that it does not have, or a text that does not fit the annotation.
    """
    hints = get_type_hints(function)
    values = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    for name, text in given.items():
        if name not in values:
            near = difflib.get_close_matches(name, values, n=3, cutoff=0.3)
            hint = f"{'nearest' if near else 'known'}: {', '.join(near or values)}"
            raise TrainError(f"no setting {name!r}; {hint if values else 'this recipe has none'}")
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(text)
        except ValidationError as error:
            raise TrainError(f"setting {name}={text!r}: {error.errors()[0]['msg']}") from None
    return values
