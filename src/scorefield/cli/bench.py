"""scorefield bench: the speed of our networks, compared with another program's."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from scorefield.cli import common

if TYPE_CHECKING:
    from scorefield.bench.compare import Report, Row

_HEAD = ("", "s per step", "GFLOP/s", "peak memory", "load", "import", "difference", "with peaks")


# Those of `bench.subjects`, which is imported when it is needed.
_MODELS = ("sd15", "sd21", "wan-1.3b", "wan-vae", "tiny", "tiny-wan", "tiny-wan-vae")


def _size(context: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    if value and value % 16:
        raise click.BadParameter(f"{value} is not a multiple of 16")
    return value


@click.command("bench")
@click.option("--peer", type=click.Choice(["diffusers"]), required=True, help="The program to compare with.")
@click.option(
    "--model",
    type=click.Choice(_MODELS),
    default="sd15",
    show_default=True,
    help="Which network; the tiny ones are not published, but serve to try the command.",
)
@click.option("--size", type=click.IntRange(64, 2048), callback=_size, help="Pixels along a side [512; 256 for Wan].")
@click.option("--repeats", type=click.IntRange(1, 100), default=3, show_default=True, help="Steps for each setting.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to run.")
@click.option("--compiled", is_flag=True, help="Also measure both compiled, which takes minutes.")
@click.option(
    "--mode",
    type=click.Choice(["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]),
    help="How torch compiles [max-autotune on a GPU, default on a CPU].",
)
@common.format_option
def command(
    peer: str, model: str, size: int | None, repeats: int, device: str, compiled: bool, mode: str | None, form: str
) -> None:
    """Measure steps of a network of published size with random weights, here and in another program.

    A step of a U-Net or of Wan's transformer has guidance: two pictures with 77 tokens each, or two films of 17 frames
    with 512. A step of Wan's autoencoder decodes a film of 17 frames. Every setting runs in its own process; all step
    in turn, and the fastest step of each counts. Differences are relative to the peer's output in float32; "with
    peaks" has queries 4 times as large. It needs up to 15 GB of memory, and 3 GB of disk while it runs.
    """
    if find_spec(peer) is None:
        raise click.ClickException("diffusers is not installed: pip install 'scorefield[bench]'")
    import torch

    if compiled and model.endswith("vae"):
        raise click.ClickException("an autoencoder of films is not compiled: leave --compiled out")
    if device == "cuda" and not torch.cuda.is_available():
        raise click.ClickException("torch finds no GPU: leave --device out")
    from dataclasses import asdict

    from scorefield.bench.compare import BenchError, compare
    from scorefield.bench.subjects import SUBJECTS
    from scorefield.bench.task import MODES, Setting

    setting = Setting(model=model, size=size or SUBJECTS[model].size, device=device, mode=mode or MODES[device])
    try:
        report = compare(setting, repeats=repeats, compiled=compiled, say=common.say)
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    common.show(asdict(report), form, _text(report))


def _text(report: "Report") -> str:
    table = [_HEAD, *map(_line, report.rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        f"{line[0]:{widths[0]}}" + "".join(f"  {c:>{w}}" for c, w in zip(line[1:], widths[1:], strict=True))
        for line in table
    ]
    return "\n".join(
        [
            f"{report.model}, {report.size} x {report.size}, {report.device} ({report.processor}), "
            f"{report.threads} threads, {report.tflop:.3f} TFLOP a step",
            *lines,
            f"{report.speedup_vs_peer_best:.2f} times as fast as the peer's best, "
            f"{report.speedup_vs_peer_default:.2f} times as fast as its default; "
            f"{report.memory_vs_peer_best:.2f} of the memory of its best; both in float32, "
            f"{report.float32_speedup:.2f} times as fast",
            *_compiled(report),
        ]
    )


def _compiled(report: "Report") -> Iterator[str]:
    both, one = report.compiled_speedup_vs_peer_compiled, report.compiled_speedup_vs_peer_eager
    if both is not None and one is not None:
        yield (
            f"compiled, {both:.2f} times as fast as the compiled peer and {one:.2f} times as fast as its best eager "
            f"setting; both eager, {report.speedup_vs_peer_eager:.2f} times as fast"
        )


def _line(row: "Row") -> tuple[str, ...]:
    extras = ", channels last" * row.channels_last + ", compiled" * row.compiled
    return (
        f"{row.program} {row.dtype}{extras}",
        f"{row.step_s:.4g}",
        f"{row.gflop_per_s:.0f}",
        f"{row.memory_bytes / 1e9:.2f} GB",
        f"{row.load_s:.1f} s",
        f"{row.import_s:.1f} s",
        f"{row.relative_difference:.1e}",
        f"{row.peaked_relative_difference:.1e}",
    )
