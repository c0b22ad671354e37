"""scorefield train: run a recipe."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from scorefield.cli import common
from scorefield.errors import DamagedError, MachineError

if TYPE_CHECKING:
    import torch

    from scorefield.train.run import Options

_MOST = 10**9  # steps
_MOST_THREADS = 1024


class How(TypedDict):
    """The options for running a recipe, which do not change it."""

    output: Path | None
    steps: int | None
    device: str
    precision: str
    compiled: bool
    threads: int | None
    save_every_minutes: float
    log_every: int
    resume: bool | None


def _number(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if math.isnan(value):  # which is in every range, for click
        raise click.BadParameter("it must be a number")
    return value


def _precision(device: str, precision: str) -> tuple["torch.device", "torch.dtype"]:
    import torch

    from scorefield.core.half_precision import has_bfloat16

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise MachineError("there is no CUDA device; use --device cpu")
    if precision != "auto":
        dtype: torch.dtype = getattr(torch, precision)
        return torch.device(device), dtype
    place = torch.device(device)
    return place, torch.bfloat16 if has_bfloat16(place) else torch.float32


def _check_compiler() -> None:
    """MachineError if torch.compile finds no C++ compiler, which it does not try before the first step."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise MachineError("--compile needs a C++ compiler such as g++; install one, or train without it") from None


def _options(folder: Path, settings: dict[str, str], how: How) -> "Options":
    from scorefield.train.run import Options

    device, dtype = _precision(how["device"], how["precision"])
    return Options(
        folder=folder,
        settings=settings,
        steps=how["steps"],
        device=device,
        dtype=dtype,
        compiled=how["compiled"],
        save_every=60 * how["save_every_minutes"],
        log_every=how["log_every"],
        resume=how["resume"],
        say=common.say,
    )


@contextmanager
def _ends() -> Iterator[None]:
    """Report a run that is interrupted or out of memory."""
    import torch

    from scorefield.train.run import InterruptedRunError

    try:
        yield
    except InterruptedRunError as error:
        common.say(str(error))
        raise click.exceptions.Exit(128 + error.number) from None
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise MachineError("out of memory; use a smaller batch") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # PyTorch out of memory on a CPU
            raise
        raise MachineError("out of memory; use a smaller batch") from error


@click.command("train")
@click.argument("name", metavar="RECIPE")
@click.option("--set", "given", metavar="NAME=VALUE", multiple=True, callback=common.pairs, help="Change a setting.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the run [runs/RECIPE].")
@click.option("--steps", type=click.IntRange(1, _MOST), help="Length of the run [the recipe's].")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to train."
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Number format of the forward pass; weights are always float32.",
)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile the network with torch.compile: a minute or two at the start, then faster steps.",
)
@click.option("--threads", type=click.IntRange(1, _MOST_THREADS), help="CPU threads for torch.")
@click.option(
    "--save-every-minutes",
    type=click.FloatRange(0, 10**6),
    default=10.0,
    show_default=True,
    callback=_number,
    help="How often to save the state.",
)
@click.option("--log-every", type=click.IntRange(1, _MOST), default=50, show_default=True, help="Steps per log line.")
@click.option(
    "--resume/--fresh", default=None, help="Resume even if settings changed / start again and replace saved states."
)
@click.option("--finish", is_flag=True, help="Write the final weights from the newest state; do not train.")
def command(name: str, given: dict[str, str], finish: bool, **how: Unpack[How]) -> None:
    """Train RECIPE, a file or a name in recipes/.

    The same command again resumes where it stopped: after Ctrl-C, or from the last saved state after a crash.
    """
    with common.failures(), _ends():
        import torch

        from scorefield.train import recipe as recipes
        from scorefield.train import run

        path = recipes.find(name)
        function = recipes.read(path)
        settings = recipes.settings(function, given)
        texts = {key: str(value) for key, value in settings.items()}
        if how["compiled"]:
            _check_compiler()
        options = _options(how["output"] or Path("runs") / path.stem, texts, how)
        if how["threads"]:
            torch.set_num_threads(how["threads"])
        recipe = function(**settings)
        if not isinstance(recipe, recipes.Recipe):
            raise DamagedError(f"{path}: its function recipe() must return a Recipe, not {type(recipe).__name__}")
        weights = run.finish(recipe, options) if finish else run.execute(recipe, options)
    common.show_path(weights)
