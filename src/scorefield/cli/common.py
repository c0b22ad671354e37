"""What the commands share: failures in one line, results as text or JSON, warnings in one line."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

import click

from scorefield.errors import ScorefieldError

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
        raise click.BadParameter(f"{odd[0]!r} is not of the form name=value")
    return dict(value.split("=", 1) for value in values)


def show(result: object, form: str, text: str) -> None:
    """Print a result on stdout, as JSON or as text."""
    if form == "json":
        # A terminal without Unicode gets JSON's own escapes, since those that Python would write are no JSON.
        unicode = getattr(sys.stdout, "encoding", None) in ("utf-8", "UTF-8")
        text = json.dumps(result, indent=2, ensure_ascii=not unicode)
    click.echo(text)


def say(line: str) -> None:
    """One line on stderr."""
    click.echo(line, err=True)


def reason(error: OSError) -> str:
    """A file error in words: "cannot use out/tree.png: Permission denied"."""
    if error.strerror is None:
        return str(error)
    if error.filename is None:  # stdout has no name
        return f"cannot write the result: {error.strerror}"
    return f"cannot use {os.fsdecode(error.filename)}: {error.strerror}"


@contextmanager
def failures() -> Iterator[None]:
    """Turn every answer into one line and an exit code: 2 for what cannot be done as it was asked, else 1.

    Anything else is a bug, and keeps its traceback. Imports torch.
    """
    import torch

    try:
        yield
    except ScorefieldError as error:
        wrong_call = error.kind in ("request", "unsupported")
        raise (click.UsageError if wrong_call else click.ClickException)(str(error).partition("\n")[0]) from None
    except (MemoryError, torch.OutOfMemoryError):
        raise click.ClickException(_NO_MEMORY) from None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # what PyTorch raises on a CPU when memory runs out
            raise
        raise click.ClickException(_NO_MEMORY) from None


@contextmanager
def drawing() -> Iterator[None]:
    """The surroundings of a command that draws: `failures`, warnings in one line, a thread for each physical core.

    OMP_NUM_THREADS, where it is set, decides the number of threads instead.
    """
    with failures(), warnings.catch_warnings():
        import torch

        from scorefield.api import UnseenWarning, UnusedKeysWarning
        from scorefield.notes import HalfPrecisionWarning

        warnings.simplefilter("ignore")
        for kind in (UnseenWarning, UnusedKeysWarning, HalfPrecisionWarning):
            warnings.simplefilter("always", kind)
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
    """How many cores this process may use, hyper-threads counted once: more threads do not draw faster."""
    if hasattr(os, "sched_getaffinity"):
        usable = os.sched_getaffinity(0)
    else:
        usable = set(range(os.cpu_count() or 1))
    siblings = {_read(f"/sys/devices/system/cpu/cpu{k}/topology/thread_siblings_list") or str(k) for k in usable}
    return max(1, min(len(siblings), _quota()))


def _quota() -> int:
    # A container may hold fewer cores than it sees: "200000 100000" is two.
    limit, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    return max(1, round(int(limit) / int(period))) if limit.isdigit() and period.isdigit() else os.cpu_count() or 1


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
