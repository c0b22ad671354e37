"""scorefield convert: a model's files in another layout."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scorefield.cli import common

if TYPE_CHECKING:
    from typing import Unpack

    from scorefield.conversion.convert import Options


@click.command("convert")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path, exists=True))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--to", type=click.Choice(["diffusers", "ldm", "comfyui"]), help="The layout, if OUT's name does not show it."
)
@click.option("--dtype", type=click.Choice(["float16", "bfloat16", "float32"]), help="Number format [as stored].")
@click.option("--prediction", type=click.Choice(["eps", "v"]), help="What the network predicts, if IN does not say so.")
@click.option(
    "--lora", "loras", multiple=True, metavar="PATH[:SCALE]", help="A LoRA to merge into the weights, as in generate."
)
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@common.format_option
def command(source: Path, out: Path, quiet: bool, form: str, **options: "Unpack[Options]") -> None:
    """Write the model in IN, a file or a folder, in another layout as OUT.

    OUT is one file if its name ends in .safetensors (the ldm layout), else a folder (diffusers). Single parts (a U-Net,
    an autoencoder, a CLIP, a video transformer, UMT5) convert between the same two. The folder of a Wan converts to
    diffusers' folder, or with --to comfyui to a folder of separate files. Except for LoRAs and scaled 8-bit weights,
    tensors stay the same bit for bit. OUT is written whole or not at all.
    """
    with common.failures():
        from tqdm import tqdm

        from scorefield.conversion.convert import prepare

        job = prepare(source, out, **options)
        size, left = job.conversion.size(job.dtype), dict(job.conversion.left)
        bar = tqdm(total=size, unit="B", unit_scale=True, leave=False, disable=True if quiet else None)
        with bar, closing(job.run()) as written:
            for count in written:
                bar.update(count)
    record = {"file": str(out), "layout": job.layout, "bytes": size, "left": left}
    lines = [str(out), *(f"left out: {what} ({count})" for what, count in left.items())]
    common.show(record, form, "\n".join(lines))
