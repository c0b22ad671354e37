"""scorefield replay: the identical picture again, from the record that its file carries."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import click
from pydantic import BaseModel, Field, ValidationError

from scorefield import atomic
from scorefield.cli import common
from scorefield.cli.relocate import Now, lost, moved
from scorefield.errors import ScorefieldError
from scorefield.files.output_names import OutputError, OutputNames
from scorefield.files.picture import PictureError, read
from scorefield.request import Request

if TYPE_CHECKING:
    from PIL import Image

    from scorefield.api import Picture, Pipeline


class Record(BaseModel):
    """The part of a picture's record that drawing it again needs."""

    request: Request
    index: Annotated[int, Field(ge=0)]
    sha256: str
    threads: Annotated[int, Field(ge=1, le=1024)]


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--output", "-o", metavar="NEW", type=click.Path(path_type=Path), help="Write it: a folder or a .png.")
@click.option("--overwrite", is_flag=True, help="Replace NEW instead of taking the next free name.")
@click.option("--model", "-m", metavar="MODEL", help="The model's name, if it is not the one of the record.")
@click.option("--device", metavar="DEVICE", help="Where to draw, if it is not where the picture was drawn.")
@click.option("--vae", metavar="PATH", help="The autoencoder of --vae, if it is not where the record says.")
@click.option("--lora", metavar="PATH", multiple=True, help="A LoRA that is not where the record says.")
@click.option("--embedding", metavar="PATH", multiple=True, help="The same of a textual inversion.")
@click.option("--image", metavar="FILE", help="The picture it starts from, if it is not where the record says.")
@click.option("--mask", metavar="FILE", help="Its mask, if that is not where the record says.")
@click.option("--image-prompt", metavar="FILE", help="Its image prompt, if that is not where the record says.")
@common.format_option
@click.pass_context
def command(
    context: click.Context, file: Path, output: Path | None, overwrite: bool, form: str, **now: Unpack[Now]
) -> None:
    """Draw the picture in FILE again, and say whether every pixel is the same.

    On the machine that drew it, it is. Files are known again by their hashes, wherever they lie now. The exit code is
    0 if every pixel is the same, 1 if not.
    """
    try:
        drawn, record = _recorded(file)
        names = OutputNames(output) if output else None
    except PictureError as error:
        raise click.ClickException(str(error)) from None
    except OutputError as error:
        raise click.UsageError(str(error)) from None
    with common.drawing():
        request = moved(record.request, now)
        pipe = _loaded(request, record.request)
        again = _drawn(pipe, record.model_copy(update={"request": request}))
        different = _different_pixels(drawn, again.image)
        path = atomic.write(again.png(), names.of(again.prompt), overwrite=overwrite) if names else None
    verdict = f"{different} of {drawn.width * drawn.height} pixels differ" if different else "identical"
    told = {"identical": different == 0, "different_pixels": different, "picture": str(path) if path else None}
    common.show({"file": str(file)} | told, form, "\n".join([verdict, *([str(path)] if path else [])]))
    context.exit(1 if different else 0)


def _loaded(request: Request, recorded: Request) -> "Pipeline":
    """What `request` is drawn with; an error that says so if a file is no more where it was `recorded`."""
    from scorefield.api.loading import load_for

    try:
        return load_for(request, common.say)
    except ScorefieldError as error:
        raise lost(recorded, error) from None


def _recorded(file: Path) -> "tuple[Image.Image, Record]":
    image, history = read(file)
    if history.ours is None:
        raise PictureError(f"{file} carries no scorefield record; only pictures that scorefield drew can be replayed")
    try:
        return image, Record.model_validate(history.ours)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise PictureError(f"{file} carries a scorefield record that cannot be used: {where}: {first['msg']}") from None


def _drawn(pipe: "Pipeline", record: Record) -> "Picture":
    """The picture again; PictureError if this model, or this request, cannot have made it."""
    import torch

    if pipe.model.sha256 != record.sha256:
        raise PictureError(
            f"the model {pipe.model.spec.name} has other weights here (hash {pipe.model.sha256[:10]}) than the picture "
            f"was drawn with (hash {record.sha256[:10]}); install the version of scorefield that drew it"
        )
    torch.set_num_threads(record.threads)  # how a sum is shared out decides how it is rounded
    loaded = {"model": pipe.model.spec.name, "device": str(pipe.model.device)}
    for group in pipe.plan(record.request.model_copy(update=loaded)):
        if group.first <= record.index < group.first + len(group.seeds):
            for step in pipe.walk(group):
                last = step
            return pipe.pictures(group, last.x)[record.index - group.first]
    raise PictureError(f"the record asks for picture {record.index}, which its own request does not have")


def _different_pixels(one: "Image.Image", other: "Image.Image") -> int:
    import numpy as np

    first, second = np.asarray(one), np.asarray(other)
    if first.shape != second.shape:
        return int(max(first.size, second.size) // 3)
    return int((first != second).any(-1).sum())
