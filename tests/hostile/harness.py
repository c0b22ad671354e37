"""Run hostile cases, each in a process forked from one that has imported everything, and judge how each ended.

A command's streams are a terminal, since some libraries leave escape sequences out for a file. Its stdin never ends.
"""

import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from tests.hostile import command_lines, folders, pickles, pictures, recipes, records, weights, whole

from scorefield.cli import main
from scorefield.printable import printable

Make = Callable[[random.Random, Path], list[str]]

DOORS: Mapping[str, Make] = {
    "weights": weights.make, "folders": folders.make, "pickles": pickles.make, "pictures": pictures.make,
    "records": records.make, "command lines": command_lines.make, "recipes": recipes.make,
}  # fmt: skip
_SECONDS = 20.0  # of the processor; a process that waits for ever uses none, and is killed after three times as many
_MEMORY = 200 * 2**20  # bytes on top of the imports: a small model takes 50 MB, reading a picture up to 100
_LONGEST = 850  # letters of the one line
_PROGRAMS = (
    "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "subprocess.Popen", "pty.spawn", "os.startfile",
    "webbrowser.open",
)  # fmt: skip
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request")
_CHANGES = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate",
    "shutil.rmtree",
)  # fmt: skip
_OURS = (sys.prefix, sys.base_prefix, str(whole.ROOT), "<")  # where code that may run is; "<string>" is dataclasses'
_ASKED = ("/", "/dev", "/etc", "/proc/self")  # folders that cases name as outputs
_HERE = Path("1") / "2" / "3" / "4"  # as deep as the paths of cases climb


class Outcome(NamedTuple):
    """How one case ended."""

    door: str
    index: int
    args: list[str]
    code: int
    said: str
    faults: list[str]
    seconds: float
    memory: int  # bytes that the case took on top of the imports


class _Watch:
    """The audit hook of a child: programs, connections, foreign code, and writing elsewhere are noted and refused."""

    def __init__(self) -> None:
        self.root, self.report = "", -1

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if self.report < 0:
            return
        if event in _PROGRAMS or event in _NETWORK:
            self._found(f"{event} {args!r:.200}")
        elif event == "exec":
            name, told = (
                getattr(args[0], "co_filename", ""),
                repr(getattr(args[0], "co_consts", "")) + repr(getattr(args[0], "co_names", "")),
            )
            if "sprung" in told or not (name.startswith(_OURS) or name.startswith(self.root)):
                self._found(f"runs the code of {name!r}")
        elif event == "import" and args[0] == "antigravity":
            self._found("imports antigravity")
        elif (
            event == "open"
            and isinstance(args[2], int)
            and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        ) or event in _CHANGES:
            self._written(event, args[0])

    def _written(self, event: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike) or os.fsdecode(path).startswith(("/dev/null", "/dev/tty")):
            return
        real = os.path.abspath(os.fsdecode(path))
        if real.startswith(self.root):
            return
        if os.path.dirname(real) not in _ASKED:
            os.write(self.report, f"{event} {real!r:.200}\n".encode("utf-8", "backslashreplace"))
        raise PermissionError(13, "Permission denied", os.fsdecode(path))

    def _found(self, line: str) -> None:
        os.write(self.report, f"{line}\n".encode("utf-8", "backslashreplace"))
        raise PermissionError(f"{line} is not allowed")


class Cases:
    """The cases of a seed, over whole files that are made once."""

    def __init__(self, base: Path, seed: int) -> None:
        self.base, self.seed = base, seed
        self._watch = _Watch()
        sys.addaudithook(self._watch)

    def run(self, door: str, index: int) -> Outcome:
        """Make one case in a new folder, run it, and judge it."""
        root = Path(tempfile.mkdtemp(prefix="hostile-"))
        try:
            here = root / _HERE
            shutil.copytree(self.base, here, copy_function=os.link)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile's, about a name that comes twice
                args = DOORS[door](random.Random(f"{self.seed} {door} {index}"), here)
            args = [one.replace("\0", "") for one in args]  # which no command line can hold
            before = _listing(root)
            code, said, found, seconds, memory = self._forked(args, root)
            faults = [
                *found,
                *_faults(code, said, memory, args),
                *_changes(before, _listing(root), code, args),
            ]
            return Outcome(door, index, args, code, said, faults, seconds, memory)
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _forked(self, args: list[str], root: Path) -> tuple[int, str, list[str], float, int]:
        terminal, ours = os.openpty()
        told, tell = os.pipe()
        ending, endless = os.pipe()
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            os.setsid()
            for number, stream in enumerate((ending, ours, ours)):
                os.dup2(stream, number)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
            os.write(tell, f"{_resident()}\n".encode())
            self._watch.root, self._watch.report = str(root), tell
            _command(args, root / _HERE)
        os.close(ours)
        os.close(tell)
        said = _drained(terminal, child, start + 3 * _SECONDS)
        _, status, used = os.wait4(child, 0)
        with os.fdopen(told, "rb") as stream:
            resident, *found = stream.read().decode().splitlines()
        for handle in (terminal, ending, endless):
            os.close(handle)
        code, seconds = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        if code == -signal.SIGKILL or seconds > _SECONDS:
            found.append(f"hangs: it takes more than {_SECONDS:g} s")
        memory = used.ru_maxrss * 1024 - int(resident)
        return code, said.decode("utf-8", "surrogateescape"), found, time.monotonic() - start, memory


def _command(args: list[str], here: Path) -> None:
    """Run a command line and end the process, after its traceback if it has one."""
    code = 70
    try:
        os.chdir(here)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))
        room = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 6 * 2**30
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        code = main.run(args)
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _drained(terminal: int, child: int, until: float) -> bytes:
    """All that a child says; after `until` it is killed."""
    said = bytearray()
    while True:
        ready, _, _ = select.select([terminal], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            os.killpg(child, signal.SIGKILL)
            return bytes(said)
        try:
            data = os.read(terminal, 2**16)
        except OSError:  # how a terminal ends
            return bytes(said)
        said += data


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _faults(code: int, said: str, memory: int, args: list[str]) -> Iterator[str]:
    lines = [line.rpartition("\r")[2] for line in said.replace("\r\n", "\n").split("\n")]  # without progress bars
    text = "\n".join(lines)
    if "Traceback" in text or code not in (0, 1, 2, 130):
        yield f"ends with {code} and a traceback or a crash"
    if printable(said.replace("\r", "")) != said.replace("\r", "") or re.search("[\ud800-\udfff]", said):
        yield "says what controls a terminal"
    errors = [line for line in lines if line.startswith("error: ")]
    differs = args[:1] == ["replay"] and any(" pixels differ" in line or '"identical": false' in line for line in lines)
    if code and not differs:
        last = [line for line in lines if line.strip()][-1:]
        if len(errors) != 1 or errors != last:
            yield "does not end in one line"
        elif not 15 < len(errors[0]) < _LONGEST:
            yield f"ends in a line of {len(errors[0])} letters"
    if memory > _MEMORY:
        yield f"takes {memory / 2**20:.0f} MB"
    if "out of memory" in text:
        yield "runs out of memory"


def _listing(root: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for folder, _, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            state = os.lstat(path)
            found[os.path.relpath(path, root / _HERE)] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


def _changes(before: Mapping[str, object], after: Mapping[str, object], code: int, args: list[str]) -> Iterator[str]:
    if any(name.endswith((".part", "sprung")) or ".part" in name for name in after):
        yield f"leaves {sorted(name for name in after if '.part' in name or 'sprung' in name)}"
    if args[:1] == ["train"]:
        return  # a run writes its log and its states as it goes
    lost = sorted(name for name in before if after.get(name) != before[name])
    if lost and "--overwrite" not in args:
        yield f"changes {lost[:3]}"
    made = sorted(after.keys() - before.keys())
    if code and made and args[:1] != ["replay"]:
        yield f"fails and leaves {made[:3]}"


@contextmanager
def cases(seed: int) -> Iterator[Cases]:
    """The cases of a seed. Call where no other thread runs, since each is a fork."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="hostile-whole-") as folder:
        base = Path(folder) / "whole"
        base.mkdir()
        whole.write(base)
        yield Cases(base, seed)
