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


def show(result: object, form: str, text: str) -> None:
    """Print a result on stdout, as JSON or as text."""
    if form == "json":
        # A terminal without Unicode gets JSON's own escapes: what would be written in place of a letter is no JSON.
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
    """Every failure of a model in one line: exit code 2 for what was asked, 1 for what went wrong. Imports torch."""
    import torch

    from scorefield.request import RequestError
    from scorefield.weights.own import WeightsError

    try:
        yield
    except RequestError as error:
        raise click.UsageError(str(error)) from None
    except (MemoryError, torch.OutOfMemoryError):
        raise click.ClickException(_NO_MEMORY) from None
    except (WeightsError, ArithmeticError, ImportError, RuntimeError, ValueError) as error:
        # PyTorch has no kind of its own for a CPU without memory.
        line = _NO_MEMORY if "can't allocate memory" in str(error) else str(error).partition("\n")[0]
        raise click.ClickException(line) from None


@contextmanager
def drawing() -> Iterator[None]:
    """How a command draws: on the physical cores, unless OMP_NUM_THREADS says else, and with warnings in one line."""
    with failures(), warnings.catch_warnings():
        import torch

        from scorefield.api import UnseenWarning, UnusedKeysWarning
        from scorefield.core.half import HalfPrecisionWarning

        warnings.simplefilter("ignore")
        for told in (UnseenWarning, UnusedKeysWarning, HalfPrecisionWarning):
            warnings.simplefilter("always", told)
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
    """Cores that this process may use, hyper-threads counted once: more threads than these do not draw faster."""
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
