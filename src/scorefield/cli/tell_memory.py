"""scorefield plan: the memory that a drawing takes, whether this machine has it, and the time to expect."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from scorefield.cli import common
from scorefield.cli.generate import EPILOG, read_request
from scorefield.cli.options import add_request_options, typed_flags

if TYPE_CHECKING:
    from scorefield.api.outlook import Outlook
    from scorefield.api.timing import Timing


@add_request_options
@click.command("plan", cls=common.Sectioned, epilog=EPILOG)
@click.argument("prompts", nargs=-1, metavar="PROMPT...")
@click.option("--probe", is_flag=True, help="Load the model and time two steps: how long would it take?")
@click.option("--anyway", is_flag=True, help="Probe even if the memory will not suffice.")
@common.format_option
@click.pass_context
def command(
    context: click.Context, /, prompts: tuple[str, ...], probe: bool, anyway: bool, form: str,
    **given: str | bool | tuple[str, ...] | None,
) -> None:  # fmt: skip
    """Estimate the memory that drawing every PROMPT takes, and whether this machine has it.

    The options are those of `scorefield generate`. Nothing is loaded unless --probe is given. The peak is that of the
    whole process with all weights in it, or of what is on the GPU.
    """
    with common.drawing(typed_flags(context)):
        from scorefield.api import timing
        from scorefield.api.outlook import outlook
        from scorefield.zoo import OpenedModel

        request = read_request(prompts, given)
        opened = OpenedModel(request)
        found = outlook(request, opened)
        for note in found.plan.notes:
            common.say(f"warning: {note.text}")
        if probe and not anyway:
            found.check()
        timed = timing.probe(found.plan, opened.load) if probe else None
        common.show(_report(found, timed), form, "\n".join(_lines(found, timed)))


def _report(found: "Outlook", timed: "Timing | None") -> dict[str, object]:
    forecast = found.forecast
    report: dict[str, object] = {
        "parts": [{"name": one.name, "bytes": one.bytes, "peak_bytes": one.peak_bytes} for one in forecast.parts],
        "base_bytes": forecast.base_bytes,
        "peak_bytes": forecast.peak_bytes,
        "available_bytes": found.available_bytes,
        "fits": found.fits,
        "suggestions": list(found.suggestions),
    }
    if timed is not None:
        report |= {"seconds_per_step": round(timed.seconds_per_step, 4), "seconds": round(timed.seconds, 2)}
    return report


def _lines(found: "Outlook", timed: "Timing | None") -> Iterator[str]:
    from scorefield.api.outlook import gigabytes

    forecast, request = found.forecast, found.plan.request
    yield f"{request.model} in {request.dtype} on {request.device}"
    rows = [("", "weights", "while it works")]
    rows += [(one.name, gigabytes(one.bytes), gigabytes(one.peak_bytes)) for one in forecast.parts]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, weights, peak in rows:
        yield f"  {name:{widths[0]}}  {weights:>{widths[1]}}  {peak:>{widths[2]}}"
    has = "" if found.available_bytes is None else f" of {gigabytes(found.available_bytes)} that are available"
    yield f"peak memory: {gigabytes(forecast.peak_bytes)}{has}: it {'fits' if found.fits else 'does not fit'}"
    if found.suggestions:
        yield f"it would fit with {', or with '.join(found.suggestions)}"
    if timed is not None:
        yield f"{timed.seconds_per_step:.3g} s a step, about {timed.seconds:.3g} s in all"
