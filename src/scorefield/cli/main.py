"""scorefield: the commands, their exit codes, and failures as one line."""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from types import FrameType, TracebackType
from typing import NamedTuple

import click

from scorefield import __version__
from scorefield.cli import common
from scorefield.printable import one_line

_FAILURE, _INTERRUPTED = 1, 130
_LONGEST = 800  # letters of the one line: it quotes what was given, which may be of any length


class Command(NamedTuple):
    """A command, which is imported only when it is called."""

    module: str  # which defines `command`
    help: str  # its line in the help of `scorefield`


COMMANDS = {
    "generate": Command("scorefield.cli.generate", "Draw pictures from prompts."),
    "plan": Command("scorefield.cli.tell_memory", "Estimate the memory and the time that a drawing takes."),
    "replay": Command("scorefield.cli.replay", "Draw a picture again from the record in its file."),
    "inspect": Command("scorefield.cli.inspect", "Show how a picture was made, or what a weights file holds."),
    "convert": Command("scorefield.cli.convert", "Write a model's files in another layout."),
    "models": Command("scorefield.cli.models", "List the models and what each knows."),
    "eval": Command("scorefield.cli.eval", "Measure how well a model follows its prompts."),
    "bench": Command("scorefield.cli.bench", "Compare our speed with another program's."),
    "lab": Command("scorefield.cli.lab", "Run an experiment that tests a claim about diffusion."),
    "serve": Command("scorefield.cli.serve", "Serve a web page, and HTTP interfaces for other programs."),
    "train": Command("scorefield.cli.train", "Train a model by a recipe."),
}


class Interrupted(Exception):
    """Ctrl-C or another signal ended a command."""

    def __init__(self, number: int) -> None:
        self.code = 128 + number

    @classmethod
    def of(cls, error: KeyboardInterrupt) -> "Interrupted":
        """The exception for a KeyboardInterrupt."""
        return cls(error.number if isinstance(error, SignalledError) else signal.SIGINT)


class SignalledError(KeyboardInterrupt):
    """A signal other than Ctrl-C ended a command. As a KeyboardInterrupt it triggers the same cleaning up."""

    def __init__(self, number: int) -> None:
        self.number = number


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name].module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # caught here, since click would print an empty line
            raise Interrupted.of(error) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, face.help) for name, face in COMMANDS.items()])


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="scorefield", message="%(prog)s %(version)s")
@click.pass_context
def group(context: click.Context) -> None:
    """Turn words into pictures: scorefield generate "a tree in the desert"."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code: 0, 1 for a failure, 2 for a wrong call, 128 + N for signal N."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack some characters
    try:
        with _ended_by_signals():
            code = group.main(args, prog_name="scorefield", standalone_mode=False)
        if sys.stdout is not None:  # it is None if stdout is closed, as by >&-
            sys.stdout.flush()
    except click.ClickException as error:
        return _end(error.format_message(), error.exit_code)
    except Interrupted as error:
        return _end("interrupted", error.code)
    except KeyboardInterrupt as error:
        return _end("interrupted", Interrupted.of(error).code)
    except click.Abort:
        return _end("interrupted", _INTERRUPTED)
    except BrokenPipeError:
        # The reader of the pipe is gone; the rest of the buffer must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILURE
    except OSError as error:
        return _end(common.reason(error), _FAILURE)
    except MemoryError:
        return _end("out of memory; draw fewer pictures at once", _FAILURE)
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point."""
    _fill_streams()
    sys.excepthook = _report
    sys.exit(run())


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report a bug: its traceback, and a request to report it."""
    sys.__excepthook__(kind, error, trace)
    click.echo(f"this is a bug in scorefield {__version__}; please report it with all of these lines", err=True)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP end the command like Ctrl-C: temporary files are deleted."""

    def end(number: int, frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # a second signal must not interrupt the clean-up
        raise SignalledError(number)

    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        ends = []  # only the main thread may set handlers
    before = {one: signal.getsignal(one) for one in ends if signal.getsignal(one) == signal.SIG_DFL}
    for one in before:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _fill_streams() -> None:
    # A stream may be closed, as by 2>&-. The next opened file would get its number, and messages would go into it.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", errors="replace"))


def _end(line: str, code: int) -> int:
    line = one_line(line)
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    click.echo(f"error: {line}", err=True)
    return code
