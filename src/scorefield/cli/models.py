"""scorefield models: what can be loaded, and what each model knows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from scorefield.cli import common

if TYPE_CHECKING:
    from scorefield.zoo import ModelSpec


@click.command("models")
@common.format_option
def command(form: str) -> None:
    """List the models that can be loaded, their settings, and what each knows."""
    from scorefield.zoo import available

    with common.failures():
        specs = available()
    common.show([_told(spec) for spec in specs], form, "\n\n".join("\n".join(_lines(spec)) for spec in specs))


def _told(spec: "ModelSpec") -> dict[str, object]:
    defaults = spec.defaults
    return {
        "name": spec.name,
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
    for kind, phrases in spec.knows.items():
        yield click.wrap_text(f"{', '.join(phrases)}", 100, f"  {kind}: ", "    ")
