"""scorefield replay: the identical picture again, from the record in its file."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from scorefield import atomic
from scorefield.cli import common
from scorefield.cli.relocate import Now, lost, relocated
from scorefield.errors import DamagedError, MissingError, UnsupportedError
from scorefield.files.output_names import OutputNames
from scorefield.files.picture import read, read_history

if TYPE_CHECKING:
    from PIL import Image

    from scorefield.api import Job
    from scorefield.api.replay import Record


_MUCH = 20_000_000  # pixels times steps: a large picture of Stable Diffusion, some minutes on a CPU


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--output", "-o", metavar="NEW", type=click.Path(path_type=Path), help="Write it to a folder or a .png.")
@click.option("--overwrite", is_flag=True, help="Replace NEW instead of taking the next free name.")
@click.option("--model", "-m", metavar="MODEL", help="The model, if it is not where the record says.")
@click.option("--device", metavar="DEVICE", help="Where to draw, if not on the recorded device.")
@click.option("--vae", metavar="PATH", help="The autoencoder of --vae, if it is not where the record says.")
@click.option("--lora", metavar="PATH", multiple=True, help="A LoRA that is not where the record says.")
@click.option("--embedding", metavar="PATH", multiple=True, help="A textual inversion not at its recorded path.")
@click.option("--image", metavar="FILE", help="The picture it starts from, if it is not where the record says.")
@click.option("--mask", metavar="FILE", help="Its mask, if it is not where the record says.")
@click.option("--image-prompt", metavar="FILE", help="Its image prompt, if it is not where the record says.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar, and no notes but warnings.")
@common.format_option
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    output: Path | None,
    overwrite: bool,
    quiet: bool,
    form: str,
    **now: Unpack[Now],
) -> None:
    """Draw the picture in FILE again, and say whether every pixel is the same.

    On the machine that drew it, it is. Moved files are recognised by their hashes. The exit code is 0 if every pixel is
    the same, 1 if not.
    """
    with common.drawing():
        from scorefield.api import Picture
        from scorefield.api.replay import replay_job, replayed
        from scorefield.cli.write_outputs import watched

        drawn, record = _recorded(file)
        names = OutputNames(output) if output else None
        moved = record.model_copy(update={"request": relocated(record.request, now)})
        try:
            job = replay_job(moved)
        except (DamagedError, MissingError) as error:
            raise lost(record.request, error) from None
        if not quiet and (cost := _cost(job)):
            common.say(cost)
        again = replayed(moved, job, watched(job, common.say, quiet=quiet))
        if not isinstance(again, Picture):
            raise UnsupportedError(f"{file} is not a picture")
        different = _different_pixels(drawn, again.image)
        path = atomic.write(again.png(), names.of(again.prompt), overwrite=overwrite) if names else None
    pixels = max(image.width * image.height for image in (drawn, again.image))
    verdict = f"{different} of {pixels} pixels differ" if different else "identical"
    report = {"identical": different == 0, "different_pixels": different, "picture": str(path) if path else None}
    common.show({"file": str(file)} | report, form, "\n".join([verdict, *([str(path)] if path else [])]))
    context.exit(1 if different else 0)


def _cost(job: "Job") -> str:
    """A line on the cost of drawing it again; empty if it is low."""
    (batch,), canvas = job.plan.batches, job.plan.canvas
    if canvas.width * canvas.height * job.plan.steps * len(batch.seeds) < _MUCH:
        return ""
    others = f", with the {len(batch.seeds) - 1} others of its batch" if len(batch.seeds) > 1 else ""
    return f"drawing {canvas.width} x {canvas.height} pixels again in {job.plan.steps} steps{others}"


def _recorded(file: Path) -> "tuple[Image.Image, Record]":
    from scorefield.api.replay import read_record

    history = read_history(file)
    if history.ours is None:
        raise DamagedError(f"{file} has no scorefield record; only pictures that scorefield drew can be replayed")
    try:
        record = read_record(history.ours)
    except DamagedError as error:
        raise DamagedError(f"{file} has {error}") from None
    return read(file)[0], record


def _different_pixels(one: "Image.Image", other: "Image.Image") -> int:
    import numpy as np

    first, second = np.asarray(one), np.asarray(other)
    if first.shape != second.shape:
        return int(max(first.size, second.size) // 3)
    return int((first != second).any(-1).sum())
