"""scorefield models: the models that can be loaded, and what each knows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from scorefield.cli import common

if TYPE_CHECKING:
    from scorefield.model.spec import ModelSpec

_FILES = "from files, by a path or a name on the Hugging Face hub (docs/checkpoints.md):"


@click.command("models")
@common.format_option
def command(form: str) -> None:
    """List the models that are loaded by name, with what each knows, and the kinds that are loaded from files."""
    from scorefield.zoo import available, kinds

    with common.failures():
        named, filed = available(), kinds()
    records = [_record(spec, "name") for spec in named] + [_record(spec, "files") for spec in filed]
    lines = [*(line for spec in named for line in (*_lines(spec), "")), _FILES]
    common.show(records, form, "\n".join([*lines, *(line for spec in filed for line in ("", *_lines(spec)))]))


def _record(spec: "ModelSpec", loaded_by: str) -> dict[str, object]:
    defaults = spec.defaults
    return {
        "name": spec.name,
        "loaded_by": loaded_by,
        "inpaints": spec.inpaints,
        "about": spec.about,
        "defaults": {name: getattr(defaults, name) for name in defaults.__slots__},
        "size_multiple": spec.size_multiple,
        "knows": {kind: list(phrases) for kind, phrases in spec.knows.items()},
    }


def _lines(spec: "ModelSpec") -> Iterator[str]:
    defaults = spec.defaults
    yield f"{spec.name}: {spec.about}"
    yield (
        f"  by default {defaults.steps} steps of {defaults.sampler} on {defaults.schedule}, guidance "
        f"{defaults.cfg_scale:g}, {defaults.width}x{defaults.height}; sides are multiples of {spec.size_multiple}"
    )
    if defaults.frames > 1:
        yield f"  films of {defaults.frames} frames, {defaults.fps:g} a second"
    if spec.inpaints:
        yield "  for inpainting: its network sees the mask (--mask) and the picture around it"
    for kind, phrases in spec.knows.items():
        yield click.wrap_text(f"{', '.join(phrases)}", 100, f"  {kind}: ", "    ")
