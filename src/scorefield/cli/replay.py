"""scorefield replay: the identical picture or film again, from the record in its file."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Unpack

import click

from scorefield.cli import common
from scorefield.cli.relocate import Now, lost, relocated
from scorefield.errors import DamagedError, MissingError, UnsupportedError
from scorefield.files.output_names import OutputNames
from scorefield.files.picture import read, read_history

if TYPE_CHECKING:
    from PIL import Image

    from scorefield.api import Film, Job, Picture
    from scorefield.api.replay import Record


_MUCH = 20_000_000  # pixels times steps: a large picture of Stable Diffusion, some minutes on a CPU


class Verdict(NamedTuple):
    """Whether the output is the same, as a line and as plain JSON."""

    identical: bool
    line: str
    report: dict[str, object]


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--output", "-o", metavar="NEW", type=click.Path(path_type=Path), help="A folder or a file to write.")
@click.option("--overwrite", is_flag=True, help="Replace NEW instead of taking the next free name.")
@click.option("--model", "-m", metavar="MODEL", help="The model, if it is not where the record says.")
@click.option("--device", metavar="DEVICE", help="Where to draw, if not on the recorded device.")
@click.option("--vae", metavar="PATH", help="The autoencoder of --vae, if it is not where the record says.")
@click.option("--text-encoder", metavar="PATH", help="The text encoder of --text-encoder, likewise.")
@click.option("--image-encoder", metavar="PATH", help="The image encoder of --image-encoder, likewise.")
@click.option("--lora", metavar="PATH", multiple=True, help="A LoRA that is not where the record says.")
@click.option("--embedding", metavar="PATH", multiple=True, help="A textual inversion not at its recorded path.")
@click.option("--image", metavar="FILE", help="The picture it starts from, if it is not where the record says.")
@click.option("--last-image", metavar="FILE", help="The film's last picture, if it is not where the record says.")
@click.option("--mask", metavar="FILE", help="Its mask, if it is not where the record says.")
@click.option("--image-prompt", metavar="FILE", help="Its image prompt, if it is not where the record says.")
@click.option("--compiled", is_flag=True, help="Compile the network, if it was compiled: this starts a C++ compiler.")
@click.option("--anyway", is_flag=True, help="Try even if the memory will not suffice.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar, and no notes but warnings.")
@common.format_option
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    output: Path | None,
    overwrite: bool,
    compiled: bool,
    anyway: bool,
    quiet: bool,
    form: str,
    **now: Unpack[Now],
) -> None:
    """Draw the picture in FILE again, and say whether every pixel is the same.

    On the machine that drew it, it is. Moved files are recognised by their hashes. The exit code is 0 if every pixel is
    the same, 1 if not. A film's file changes its frames to be small, so those drawn again are compared with the hash of
    the frames in its record.
    """
    with common.drawing():
        from scorefield.api.replay import replay_job, replayed
        from scorefield.cli.write_outputs import watched

        drawn, record = _recorded(file)
        names = OutputNames(output) if output else None
        ending = names.ending(film=drawn is None) if names else ""
        request = relocated(record.request, now)
        if request.compiled and not compiled:  # a file alone starts no other program
            common.say("note: it was drawn by a compiled network, which may round otherwise: --compiled compiles it")
            request = request.model_copy(update={"compiled": False})
        moved = record.model_copy(update={"request": request})
        try:
            job = replay_job(moved, anyway=anyway)
        except (DamagedError, MissingError) as error:
            raise lost(record.request, error) from None
        if not quiet and (cost := _cost(job)):
            common.say(cost)
        again = replayed(moved, job, watched(job, common.say, quiet=quiet))
        verdict = _compared(file, drawn, record, again)
        path = again.write(names.of(again.prompt, ending), overwrite=overwrite) if names else None
    written = {"film" if drawn is None else "picture": str(path) if path else None}
    report = {"file": str(file), "identical": verdict.identical, **verdict.report, **written}
    common.show(report, form, "\n".join([verdict.line, *([str(path)] if path else [])]))
    context.exit(0 if verdict.identical else 1)


def _compared(file: Path, drawn: "Image.Image | None", record: "Record", again: "Picture | Film") -> Verdict:
    """Compare a picture with the one in its file, and a film with the hash in its record."""
    from scorefield.api import Film, Picture

    if isinstance(again, Picture) and drawn is not None:
        different = _different_pixels(drawn, again.image)
        pixels = max(image.width * image.height for image in (drawn, again.image))
        line = f"{different} of {pixels} pixels differ" if different else "identical"
        return Verdict(different == 0, line, {"different_pixels": different})
    if isinstance(again, Film) and drawn is None:
        found = again.frames_sha256
        same = found == record.frames_sha256
        line = f"the {len(again.frames)} frames drawn again have {'the' if same else 'another'} hash"
        line = f"identical: {line} of the record" if same else f"different: {line} than in the record"
        return Verdict(same, line, {"frames_sha256": found})
    raise UnsupportedError(f"{file} has a record that does not fit what its model draws")


def _cost(job: "Job") -> str:
    """A line on the cost of drawing it again; empty if it is low."""
    (batch,), canvas = job.plan.batches, job.plan.canvas
    if canvas.frames * canvas.width * canvas.height * job.plan.steps * len(batch.seeds) < _MUCH:
        return ""
    others = f", with the {len(batch.seeds) - 1} others of its batch" if len(batch.seeds) > 1 else ""
    return f"drawing {canvas.width} x {canvas.height} pixels again in {job.plan.steps} steps{others}"


def _recorded(file: Path) -> "tuple[Image.Image | None, Record]":
    """The picture in the file, None for a film, and the record."""
    from scorefield.api.replay import read_record

    history = read_history(file)
    if history.ours is None:
        raise DamagedError(f"{file} has no scorefield record; only what scorefield drew can be replayed")
    try:
        record = read_record(history.ours)
    except DamagedError as error:
        raise DamagedError(f"{file} has {error}") from None
    return read(file)[0] if record.frames_sha256 is None else None, record


def _different_pixels(one: "Image.Image", other: "Image.Image") -> int:
    import numpy as np

    first, second = np.asarray(one), np.asarray(other)
    if first.shape != second.shape:
        return int(max(first.size, second.size) // 3)
    return int((first != second).any(-1).sum())
