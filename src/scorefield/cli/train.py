"""scorefield train: run a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scorefield.cli import common

if TYPE_CHECKING:
    import torch


def _precision(device: str) -> tuple["torch.device", "torch.dtype"]:
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise click.ClickException("no CUDA device here; use --device cpu")
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.device(device), torch.bfloat16 if fast else torch.float32


@click.command("train")
@click.argument("name", metavar="RECIPE")
@click.option("--set", "given", metavar="NAME=VALUE", multiple=True, callback=common.pairs, help="Change a setting.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Run folder [runs/RECIPE].")
@click.option("--steps", type=click.IntRange(min=1), help="Length of the run instead of the recipe's.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads for torch.")
@click.option("--save-every-minutes", type=click.FloatRange(min=0), default=10.0, show_default=True)
@click.option("--log-every", type=click.IntRange(min=1), default=50, show_default=True, help="Steps a line of the log.")
@click.option("--resume/--fresh", default=None, help="Go on though settings changed / start again.")
@click.option("--finish", is_flag=True, help="Write the weights that ship from the newest state; do not train.")
def command(
    name: str, given: dict[str, str], output: Path | None, steps: int | None, device: str, precision: str,
    threads: int | None, save_every_minutes: float, log_every: int, resume: bool | None, finish: bool,
) -> None:  # fmt: skip
    """Train RECIPE, a file or a name in recipes/.

    The same command again goes on where it stopped: after Ctrl-C, and after a crash from the last saved state.
    """
    import torch

    from scorefield.errors import ScorefieldError
    from scorefield.train import recipe as recipes
    from scorefield.train import run
    from scorefield.train.errors import TrainError

    if threads:
        torch.set_num_threads(threads)
    where, dtype = _precision(device)
    if precision != "auto":
        dtype = getattr(torch, precision)
    try:
        path = recipes.find(name)
        function = recipes.read(path)
        settings = recipes.settings(function, given)
        options = run.Options(
            folder=output or Path("runs") / path.stem,
            settings={key: str(value) for key, value in settings.items()},
            steps=steps, device=where, dtype=dtype, save_every=60 * save_every_minutes, log_every=log_every,
            resume=resume, say=lambda line: click.echo(line, err=True),
        )  # fmt: skip
        recipe = function(**settings)
        weights = run.finish(recipe, options) if finish else run.execute(recipe, options)
    except run.InterruptedRunError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(128 + error.number) from None
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on from the last saved state", err=True)
        raise click.exceptions.Exit(130) from None
    except (TrainError, ScorefieldError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(common.reason(error)) from None
    click.echo(str(weights))
