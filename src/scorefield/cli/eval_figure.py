"""Figures of measurements; they need the extra `plot`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scorefield import atomic
from scorefield.cli.eval_report import Shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


def _figure() -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise click.ClickException("a figure needs matplotlib: pip install 'scorefield[plot]'") from None
    return Figure(figsize=(7, 4.2), dpi=120, layout="constrained")


def check(output: Path) -> None:
    """Fail before any long work if a figure could not be drawn."""
    if output.suffix not in FORMATS:
        raise click.UsageError(f"a figure's name must end in {', '.join(FORMATS)}, not {output.name!r}")
    _figure()


def adherence(found: Mapping[float, Shares], output: Path, *, overwrite: bool) -> None:
    """Plot adherence against guidance scale: a line for every task, and one for all with its 95 % interval."""
    figure = _figure()
    axes = figure.subplots()
    scales = list(found)
    for task in next(iter(found.values())):
        whole = task == "overall"
        rates = [100 * shares[task].rate for shares in found.values()]
        axes.plot(
            scales, rates, "o-", label=task, color="black" if whole else None, alpha=1 if whole else 0.7,
            linewidth=2.2 if whole else 1.2, markersize=5 if whole else 3, zorder=3 if whole else 2,
        )  # fmt: skip
    whole_shares = [shares["overall"] for shares in found.values()]
    low, high = [100 * share.low for share in whole_shares], [100 * share.high for share in whole_shares]
    axes.fill_between(scales, low, high, color="black", alpha=0.12, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(scales, [f"{scale:g}" for scale in scales])
    axes.minorticks_off()
    axes.set(xlabel="guidance scale", ylabel="pictures that show what was asked, %", ylim=(0, 101))
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize="small", ncols=2)
    with atomic.staged(output.parent) as path:
        figure.savefig(path, format=output.suffix[1:])
        atomic.publish(path, iter([output]), overwrite=overwrite)
