"""Shared by the commands: errors and warnings as one line, results as text or JSON."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TextIO, TypeVar

import click

from scorefield.errors import ScorefieldError, is_out_of_memory
from scorefield.notes import ScorefieldWarning
from scorefield.printable import json_text, printable

_NO_MEMORY = "out of memory; draw fewer pictures at once with --batch-size, or smaller ones"

Command = TypeVar("Command", bound=Callable[..., object])


def format_option(command: Command) -> Command:
    """--format text|json."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How to print the result.",
    )(command)


def pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE options as a dict: the callback of a click option that may be given several times."""
    if odd := [value for value in values if "=" not in value]:
        raise click.BadParameter(f"{odd[0]!r} is not NAME=VALUE")
    return dict(value.split("=", 1) for value in values)


def show(result: object, form: str, text: str) -> None:
    """Print a result on stdout, as JSON or as text."""
    if form == "json":
        # A terminal without Unicode gets JSON's own escapes, since Python's escapes are not valid JSON.
        unicode = getattr(sys.stdout, "encoding", None) in ("utf-8", "UTF-8")
        text = json_text(result, indent=2, ascii_only=not unicode)
    click.echo(printable(text))


def say(line: str) -> None:
    """Print one line on stderr."""
    click.echo(printable(line), err=True)


def show_path(path: str | Path) -> None:
    """Print the path of a file that was written: as it is for a program that reads it, escaped for a terminal."""
    click.echo(printable(str(path)) if sys.stdout.isatty() else str(path), color=True)  # else click leaves parts out


def reason(error: OSError) -> str:
    """A file error in words: "cannot use out/tree.png: Permission denied"."""
    if error.strerror is None:
        return str(error)
    if error.filename is None:  # stdout has no name
        return f"cannot write the result: {error.strerror}"
    return f"cannot use {os.fsdecode(error.filename)}: {error.strerror}"


class Sectioned(click.Command):
    """A command whose help lists its options under headings, and which keeps its arguments as typed."""

    headings: Mapping[str, str] = {}  # option -> heading; other options come last, under `last`
    last = "Files and messages"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (row := param.get_help_record(ctx)) is not None:
                rows.setdefault(self.headings.get(param.name or "", self.last), []).append(row)
        for heading, listed in rows.items():
            with formatter.section(heading):
                formatter.write_dl(listed)


ARGUMENTS = "scorefield.arguments"


@contextmanager
def failures(typed: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Turn every ScorefieldError into one line and an exit code: 2 for a wrong or unsupported request, else 1.

    A line about an option names it as it was `typed`. Anything else is a bug, and keeps its traceback.
    """
    try:
        yield
    except ScorefieldError as error:
        wrong_call = error.kind in ("request", "unsupported")
        line = _naming(str(error).partition("\n")[0], getattr(error, "option", None), typed)
        raise (click.UsageError if wrong_call else click.ClickException)(line) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise click.ClickException(_NO_MEMORY) from None


def _naming(line: str, option: str | None, typed: Mapping[str, str]) -> str:
    """The line with the option at fault as it was typed: in place of the first word, or before it."""
    name, space, rest = line.partition(" ")
    if name in typed:
        return f"{typed[name]}{space}{rest}"
    if option in ("width", "height") and option not in typed:
        option = "size"
    return f"{typed[option]}: {line}" if option is not None and option in typed else line


@contextmanager
def drawing(typed: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """The context of a command that draws: `failures`, warnings as one line, one thread per physical core.

    OMP_NUM_THREADS, if set, decides the number of threads instead.
    """
    with failures(typed), warnings.catch_warnings():
        import torch

        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ScorefieldWarning)
        warnings.showwarning = _show_warning
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(physical_cores())
        yield


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    say(f"warning: {message}")


def physical_cores() -> int:
    """The number of physical cores that this process may use: more threads do not draw faster."""
    if hasattr(os, "sched_getaffinity"):
        usable = os.sched_getaffinity(0)
    else:
        usable = set(range(os.cpu_count() or 1))
    siblings = {_read(f"/sys/devices/system/cpu/cpu{k}/topology/thread_siblings_list") or str(k) for k in usable}
    return max(1, min(len(siblings), _quota()))


def _quota() -> int:
    # A container may be limited to fewer cores than it sees: "200000 100000" means two.
    limit, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    return max(1, round(int(limit) / int(period))) if limit.isdigit() and period.isdigit() else os.cpu_count() or 1


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
